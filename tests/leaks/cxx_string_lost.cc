/* SPDX-License-Identifier: MIT */
/*
 * cxx_string_lost.cc - a lost string object with a long text: the text is charged to it.
 *
 * total: lost=1/32 indirect=1/201
 * group: lost blocks=1 bytes=32 indirect=1/201 stack=build<main
 */
#include <string>

#include "leak.h"

OWN static void build()
{
    OPAQUE(new std::string(200, 'b'));
}

int main()
{
    build();
    scrub();
    return 0;
}
