/* SPDX-License-Identifier: MIT */
/*
 * cxx_virtual_lost.cc - an object with virtual functions and two bases, lost.
 *
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 stack=build<main
 */
#include "leak.h"

struct first {
    virtual ~first() = default;
    long a = 1;
};

struct second {
    virtual ~second() = default;
    long b = 2;
};

struct both : first, second {
    long c = 3;
};

OWN static void build()
{
    OPAQUE(static_cast<second *>(new both));
}

int main()
{
    build();
    scrub();
    return 0;
}
