/* SPDX-License-Identifier: MIT */
/*
 * self_pointer.c - a block that points at itself, twice, and that nobody else points at, is lost and no
 * cycle.
 *
 * total: lost=1/64
 * group: lost blocks=1 bytes=64 self=2 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    void **p = calloc(8, sizeof(*p));

    p[1] = p;
    p[5] = &p[3];
    OPAQUE(p);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
