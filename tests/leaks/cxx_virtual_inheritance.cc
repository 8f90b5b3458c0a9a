/* SPDX-License-Identifier: MIT */
/*
 * cxx_virtual_inheritance.cc - an object known by its virtual base, in its middle: held.
 *
 * total:
 */
#include "leak.h"

struct base {
    virtual ~base() = default;
    long a = 1;
};

struct left : virtual base {
    long b = 2;
};

struct right : virtual base {
    long c = 3;
};

struct diamond : left, right {
    long d = 4;
};

base *held;

OWN static void build()
{
    held = OPAQUE(static_cast<base *>(new diamond));
}

int main()
{
    build();
    scrub();
    return 0;
}
