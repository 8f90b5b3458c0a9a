/* SPDX-License-Identifier: MIT */
/*
 * end_of_full.c - a global that points one past a block that is full: where the next block would begin.
 *
 * The size is of a class that nothing else here uses, so that no other block begins where this one ends.
 *
 * total: possible=1
 * group: possible blocks=1 stack=build<main
 */
#include <malloc.h>

#include "leak.h"

static char *held;

OWN static void build(void)
{
    void *first = malloc(6000);
    size_t size = malloc_usable_size(first);
    char *p = OPAQUE(calloc(1, size));

    free(first);
    held = p + size;
    OPAQUE(&held);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
