/* SPDX-License-Identifier: MIT */
/*
 * cycle_holds_cycle.c - a ring of two holds a ring of three: the first is the finding, the second is charged
 * to it.
 *
 * total: cycle=2/96 indirect=3/144
 * group: cycle blocks=2 bytes=96 indirect=3/144 instances=1 groups=1 edges=8+0,8+0 stack=node<ring<build<main
 */
#include "leak.h"

struct node {
    struct node *other, *next;
    long c[4];
};

OWN static struct node *node(void)
{
    return OPAQUE(calloc(1, sizeof(struct node)));
}

OWN static struct node *ring(int n)
{
    struct node *first = node(), *last = first;

    for (int i = 1; i < n; i++)
        last = last->next = node();
    last->next = first;
    return OPAQUE(first);
}

OWN static void build(void)
{
    struct node *holder = ring(2);

    holder->other = ring(3);
    OPAQUE(holder);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
