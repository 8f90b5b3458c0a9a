/* SPDX-License-Identifier: MIT */
/*
 * huge_block.c - a block of 32 MiB is lost; it holds a small one in its last word.
 *
 * total: lost=1/33554432 indirect=1/16
 * group: lost blocks=1 bytes=33554432 indirect=1/16 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    char *p = calloc(1, 33554432);

    *(void **)(p + 33554432 - sizeof(void *)) = OPAQUE(calloc(1, 16));
    OPAQUE(p);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
