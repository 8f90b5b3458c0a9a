/* SPDX-License-Identifier: MIT */
/*
 * cxx_string.cc - strings: a global one, one in a block, short and long; all held.
 *
 * total:
 */
#include <string>

#include "leak.h"

std::string global_string;
std::string *held_short, *held_long;

OWN static void build()
{
    global_string = std::string(100, 'a');
    held_short = OPAQUE(new std::string("short"));
    held_long = OPAQUE(new std::string(200, 'b'));
}

int main()
{
    build();
    scrub();
    return 0;
}
