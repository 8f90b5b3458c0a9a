/* SPDX-License-Identifier: MIT */
/*
 * lost_head.c - one block, its only pointer gone.
 *
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 groups=1 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    memset(OPAQUE(malloc(40)), 1, 40);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
