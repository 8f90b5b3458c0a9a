/* SPDX-License-Identifier: MIT */
/*
 * interior_only.c - a global that points into the block's middle, with nothing there that would explain it.
 *
 * total: possible=1/96
 * group: possible blocks=1 bytes=96 stack=build<main
 */
#include "leak.h"

static char *held;

OWN static void build(void)
{
    held = (char *)OPAQUE(calloc(1, 96)) + 24;
    OPAQUE(&held);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
