/* SPDX-License-Identifier: MIT */
/*
 * freed_at_exit.c - an exit handler frees what a global held, and forgets it: clean.
 *
 * total:
 */
#include "leak.h"

static void *held;

static void give_back(void)
{
    free(held);
    held = NULL;
}

OWN static void build(void)
{
    held = OPAQUE(calloc(1, 64));
    atexit(give_back);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
