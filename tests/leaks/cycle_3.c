/* SPDX-License-Identifier: MIT */
/*
 * cycle_3.c - three blocks in a ring, the pointer at offset 16: one cycle, not three leaks.
 *
 * total: cycle=3/144
 * group: cycle blocks=3 bytes=144 groups=1 instances=1 edges=16+0,16+0,16+0 stack=node<build<main
 */
#include "leak.h"

struct node {
    long a, b;
    struct node *next;
    long c[3];
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
    OPAQUE(a);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
