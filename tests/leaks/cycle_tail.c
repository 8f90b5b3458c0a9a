/* SPDX-License-Identifier: MIT */
/*
 * cycle_tail.c - a ring of three that holds a tail of two: the tail is charged to the cycle.
 *
 * total: cycle=3/96 indirect=2/64
 * group: cycle blocks=3 bytes=96 indirect=2/64 instances=1 groups=1 edges=8+0,8+0,8+0 stack=node<build<main
 */
#include "leak.h"

struct node {
    struct node *tail, *next;
    long c[2];
};

OWN static struct node *node(void)
{
    return OPAQUE(calloc(1, sizeof(struct node)));
}

OWN static void build(void)
{
    struct node *a = node();

    a->next = node();
    a->next->next = node();
    a->next->next->next = a;
    a->next->tail = node();
    a->next->tail->tail = node();
    OPAQUE(a);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
