/* SPDX-License-Identifier: MIT */
/*
 * leaks_5001.c - 5,001 blocks lost from 5,001 different stacks: the bits of a number choose the calls.
 *
 * total: lost=5001/120024
 * group: lost blocks=1 bytes=24 groups=5001 frames=14
 */
#include "leak.h"

static void walk(unsigned bits, int depth);

OWN static void left(unsigned bits, int depth)
{
    walk(bits, depth);
    OPAQUE(&bits);
}

OWN static void right(unsigned bits, int depth)
{
    walk(bits, depth);
    OPAQUE(&bits);
}

OWN static void walk(unsigned bits, int depth)
{
    if (depth == 0)
        OPAQUE(calloc(1, 24));
    else if (bits & 1)
        left(bits >> 1, depth - 1);
    else
        right(bits >> 1, depth - 1);
}

OWN static void build(void)
{
    for (unsigned i = 0; i < 5001; i++)
        walk(i, 13);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
