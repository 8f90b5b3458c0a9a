/* SPDX-License-Identifier: MIT */
/*
 * cxx_new_kinds.cc - every ordinary form of new, lost.
 *
 * total: lost=5
 * group: lost blocks=1 bytes=16 stack=plain<build<main
 * group: lost blocks=1 bytes=80 stack=array<build<main
 * group: lost blocks=1 bytes=16 stack=without_throw<build<main
 * group: lost blocks=1 bytes=256 stack=over_aligned<build<main
 * group: lost blocks=1 bytes=512 stack=over_aligned_array<build<main
 */
#include <new>

#include "leak.h"

struct pair {
    long a, b;
};

struct alignas(128) wide {
    char bytes[256];
};

OWN static void plain()
{
    OPAQUE(new pair());
}

OWN static void array()
{
    OPAQUE(new pair[5]());
}

OWN static void without_throw()
{
    OPAQUE(new (std::nothrow) pair());
}

OWN static void over_aligned()
{
    OPAQUE(new wide());
}

OWN static void over_aligned_array()
{
    OPAQUE(new wide[2]());
}

OWN static void build()
{
    plain();
    array();
    without_throw();
    over_aligned();
    over_aligned_array();
}

int main()
{
    build();
    scrub();
    return 0;
}
