/* SPDX-License-Identifier: MIT */
/*
 * cxx_array_lost.cc - an array of objects whose pointer is gone: 8 objects of 16 bytes and the count.
 *
 * total: lost=1/136
 * group: lost blocks=1 bytes=136 stack=build<main
 */
#include "leak.h"

struct item {
    long a, b;
    ~item()
    {
        OPAQUE(this);
    }
};

OWN static void build()
{
    OPAQUE(new item[8]());
}

int main()
{
    build();
    scrub();
    return 0;
}
