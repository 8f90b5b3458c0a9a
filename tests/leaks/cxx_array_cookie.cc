/* SPDX-License-Identifier: MIT */
/*
 * cxx_array_cookie.cc - an array of objects with destructors is known by its first element, past the count:
 * held.
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

OWN static void build()
{
    held = OPAQUE(new item[8]());
}

int main()
{
    build();
    scrub();
    return 0;
}
