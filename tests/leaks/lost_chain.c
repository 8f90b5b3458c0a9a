/* SPDX-License-Identifier: MIT */
/*
 * lost_chain.c - a list of five, singly linked, whose head is lost: one leak, four blocks charged to it.
 *
 * total: lost=1/48 indirect=4/192
 * group: lost blocks=1 bytes=48 indirect=4/192 stack=push<build<main
 */
#include "leak.h"

struct node {
    long payload[5];
    struct node *next;
};

OWN static struct node *push(struct node *next)
{
    struct node *n = calloc(1, sizeof(*n));

    n->next = next;
    return OPAQUE(n);
}

OWN static void build(void)
{
    struct node *head = NULL;

    for (int i = 0; i < 5; i++)
        head = push(head);
    OPAQUE(head);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
