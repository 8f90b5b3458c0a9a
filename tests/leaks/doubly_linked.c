/* SPDX-License-Identifier: MIT */
/*
 * doubly_linked.c - a doubly linked list of five, dropped: one cycle of five with eight edges.
 *
 * total: cycle=5/160
 * group: cycle blocks=5 bytes=160 instances=1 groups=1 edges=0+0,0+0,0+0,0+0,8+0,8+0,8+0,8+0 stack=node<build<main
 */
#include "leak.h"

struct node {
    struct node *next, *prev;
    long c[2];
};

OWN static struct node *node(void)
{
    return OPAQUE(calloc(1, sizeof(struct node)));
}

OWN static void build(void)
{
    struct node *last = node();

    for (int i = 0; i < 4; i++) {
        struct node *n = node();
        n->prev = last;
        last->next = n;
        last = n;
    }
    OPAQUE(last);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
