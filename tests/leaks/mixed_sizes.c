/* SPDX-License-Identifier: MIT */
/*
 * mixed_sizes.c - a chain through a small block, a span and a mapping.
 *
 * total: lost=1/64 indirect=3/3186768
 * group: lost blocks=1 bytes=64 indirect=3/3186768 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    void **small = calloc(1, 64), **span = calloc(1, 40960), **mapping = calloc(1, 3145728);

    small[7] = span;
    span[5119] = mapping;
    mapping[393215] = calloc(1, 80);
    OPAQUE(small);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
