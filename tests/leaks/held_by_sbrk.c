/* SPDX-License-Identifier: MIT */
/*
 * held_by_sbrk.c - the only pointer is in memory from sbrk().
 *
 * total: possible=1/64
 * group: possible blocks=1 stack=build<main
 */
#include <unistd.h>

#include "leak.h"

static void **area;

OWN static void build(void)
{
    area = (void **)(((uintptr_t)sbrk(65536) + 15) & ~(uintptr_t)15);
    area[100] = OPAQUE(calloc(1, 64));
}

int main(void)
{
    build();
    scrub();
    return 0;
}
