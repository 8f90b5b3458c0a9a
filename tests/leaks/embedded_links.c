/* SPDX-License-Identifier: MIT */
/*
 * embedded_links.c - an intrusive list: the global and the nodes know the link at offset 16 only, as
 * container_of() users do.
 *
 * total: possible=3/192
 * group: possible blocks=3 bytes=192 groups=1 stack=push<build<main
 */
#include "leak.h"

struct link {
    struct link *next;
};

struct item {
    long a, b;
    struct link link;
    long c[5];
};

static struct link *first;

OWN static void push(void)
{
    struct item *it = calloc(1, sizeof(*it));

    it->link.next = first;
    first = &it->link;
    OPAQUE(&first);
}

OWN static void build(void)
{
    for (int i = 0; i < 3; i++)
        push();
}

int main(void)
{
    build();
    scrub();
    return 0;
}
