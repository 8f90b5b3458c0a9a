/* SPDX-License-Identifier: MIT */
/*
 * zero_size.c - malloc(0) gives a block, and a lost one is lost.
 *
 * total: lost=1/0
 * group: lost blocks=1 bytes=0 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    OPAQUE(malloc(0));
}

int main(void)
{
    build();
    scrub();
    return 0;
}
