/* SPDX-License-Identifier: MIT */
/*
 * self_pointer_tail.c - a lost block with a pointer to itself holds another block: one leak of two.
 *
 * total: lost=1/32 indirect=1/80
 * group: lost blocks=1 self=1 indirect=1/80 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    void **p = calloc(4, sizeof(*p));

    p[0] = p;
    p[3] = calloc(1, 80);
    OPAQUE(p);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
