/* SPDX-License-Identifier: MIT */
/*
 * lost_holds_cycle.c - a lost block that holds a ring: the head is lost, the ring indirect, no cycle is told.
 *
 * total: lost=1/200 indirect=2/64
 * group: lost blocks=1 bytes=200 indirect=2/64 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    void **head = calloc(25, sizeof(*head));
    void **a = calloc(4, sizeof(*a)), **b = calloc(4, sizeof(*b));

    a[0] = b;
    b[0] = a;
    head[24] = a;
    OPAQUE(head);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
