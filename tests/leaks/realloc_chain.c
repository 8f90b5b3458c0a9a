/* SPDX-License-Identifier: MIT */
/*
 * realloc_chain.c - a block grown from 16 bytes to 1 MiB and shrunk to 100,000: one block is lost, of the
 * last size.
 *
 * total: lost=1/100000
 * group: lost blocks=1 bytes=100000 stack=shrink<build<main
 */
#include "leak.h"

OWN static void *grow(void)
{
    void *p = NULL;

    for (size_t size = 16; size <= 1048576; size *= 2) {
        p = realloc(p, size);
        memset(p, 0, size);
    }
    return OPAQUE(p);
}

OWN static void *shrink(void *p)
{
    return OPAQUE(realloc(p, 100000));
}

OWN static void build(void)
{
    OPAQUE(shrink(grow()));
}

int main(void)
{
    build();
    scrub();
    return 0;
}
