/* SPDX-License-Identifier: MIT */
/*
 * cxx_array_zero.cc - an array of no objects: the only pointer is one past the eight bytes of its count.
 * Held.
 *
 * total:
 */
#include "leak.h"

struct item {
    long a, b;
    ~item()
    {
        OPAQUE(this);
    }
};

item *held;
static volatile int none;

OWN static void build()
{
    held = OPAQUE(new item[none]());
}

int main()
{
    build();
    scrub();
    return 0;
}
