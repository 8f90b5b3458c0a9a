/* SPDX-License-Identifier: MIT */
/*
 * lost_at_exit.c - an exit handler forgets what a global held without freeing it: lost, and found.
 *
 * total: lost=1/64
 * group: lost blocks=1 bytes=64 stack=build<main
 */
#include "leak.h"

static void *held;

static void forget(void)
{
    held = NULL;
}

OWN static void build(void)
{
    held = OPAQUE(calloc(1, 64));
    atexit(forget);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
