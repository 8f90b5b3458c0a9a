/* SPDX-License-Identifier: MIT */
/*
 * cxx_static_destructor.cc - a static object's destructor frees what it held: clean.
 *
 * total:
 */
#include "leak.h"

struct holder {
    long *held = nullptr;
    ~holder()
    {
        delete held;
    }
};

static holder owner;

OWN static void build()
{
    owner.held = OPAQUE(new long(1));
}

int main()
{
    build();
    scrub();
    return 0;
}
