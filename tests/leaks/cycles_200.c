/* SPDX-License-Identifier: MIT */
/*
 * cycles_200.c - two hundred rings of one shape become one finding of two hundred instances.
 *
 * total: cycle=400/12800
 * group: cycle blocks=400 bytes=12800 instances=200 groups=1 edges=24+0,24+0 stack=pair<build<main
 */
#include "leak.h"

OWN static void pair(void)
{
    void *both[2];

    for (int i = 0; i < 2; i++)
        both[i] = OPAQUE(calloc(4, sizeof(void *)));
    ((void **)both[0])[3] = both[1];
    ((void **)both[1])[3] = both[0];
}

OWN static void build(void)
{
    for (int i = 0; i < 200; i++)
        pair();
}

int main(void)
{
    build();
    scrub();
    return 0;
}
