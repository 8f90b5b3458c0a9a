/* SPDX-License-Identifier: MIT */
/*
 * cxx_string_old.cc - strings of the older library are known by their text, past a header in the block: held.
 *
 * flags: -D_GLIBCXX_USE_CXX11_ABI=0
 * total:
 */
#include <string>

#include "leak.h"

std::string *held;

OWN static void build()
{
    held = OPAQUE(new std::string(200, 'b'));
}

int main()
{
    build();
    scrub();
    return 0;
}
