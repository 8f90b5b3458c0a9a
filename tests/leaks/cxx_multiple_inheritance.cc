/* SPDX-License-Identifier: MIT */
/*
 * cxx_multiple_inheritance.cc - an object known by its second base, in its middle: held.
 *
 * total:
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

second *held;

OWN static void build()
{
    held = OPAQUE(static_cast<second *>(new both));
}

int main()
{
    build();
    scrub();
    return 0;
}
