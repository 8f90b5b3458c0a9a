/* SPDX-License-Identifier: MIT */
/*
 * doubly_linked_owned.c - a list header that its nodes do not know: the header is lost, the nodes are charged
 * to it.
 *
 * total: lost=1/24 indirect=5/160
 * group: lost blocks=1 bytes=24 indirect=5/160 stack=build<main
 */
#include "leak.h"

struct node {
    struct node *next, *prev;
    long c[2];
};

struct list {
    struct node *first, *last;
    long count;
};

OWN static void append(struct list *l)
{
    struct node *n = calloc(1, sizeof(*n));

    n->prev = l->last;
    if (l->last)
        l->last->next = n;
    else
        l->first = n;
    l->last = n;
}

OWN static void build(void)
{
    struct list *l = calloc(1, sizeof(*l));

    for (int i = 0; i < 5; i++)
        append(l);
    OPAQUE(l);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
