/* SPDX-License-Identifier: MIT */
/*
 * stale_dead_frame.c - built like a debug build, and nothing scrubbed: copies of the pointer are all over the
 * dead stack under exit().
 *
 * flags: -O0
 * total: lost=1/64
 * group: lost blocks=1 bytes=64 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    void *volatile copies[2048];
    void *p = calloc(1, 64);

    for (int i = 0; i < 2048; i++)
        copies[i] = p;
    OPAQUE(copies[2047]);
}

int main(void)
{
    build();
    exit(0);
}
