/* SPDX-License-Identifier: MIT */
/*
 * two_heads_one_tail.c - two lost heads share a tail: it is charged once.
 *
 * total: lost=2/64 indirect=1/100
 * group: lost blocks=2 bytes=64 indirect=1/100 groups=1 stack=head<build<main
 */
#include "leak.h"

OWN static void head(void *tail)
{
    void **h = calloc(4, sizeof(*h));

    h[2] = tail;
    OPAQUE(h);
}

OWN static void build(void)
{
    void *tail = calloc(1, 100);

    for (int i = 0; i < 2; i++)
        head(tail);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
