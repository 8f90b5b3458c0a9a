/* SPDX-License-Identifier: MIT */
/*
 * cycle_interior.c - two blocks that point into each other's middle: held by each other all the same, so a
 * cycle.
 *
 * total: cycle=2/128
 * group: cycle blocks=2 bytes=128 instances=1 groups=1 edges=0+40,8+24 root=main
 */
#include "leak.h"

OWN static void build(void)
{
    void *both[2];

    for (int i = 0; i < 2; i++)
        both[i] = OPAQUE(calloc(8, sizeof(void *)));
    ((void **)both[0])[0] = (char *)both[1] + 40;
    ((void **)both[1])[1] = (char *)both[0] + 24;
}

int main(void)
{
    build();
    scrub();
    return 0;
}
