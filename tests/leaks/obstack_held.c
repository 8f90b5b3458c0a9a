/* SPDX-License-Identifier: MIT */
/*
 * obstack_held.c - an obstack that a global describes: its chunks are held.
 *
 * total:
 */
#include <obstack.h>
#include "leak.h"

#define obstack_chunk_alloc malloc
#define obstack_chunk_free  free

static struct obstack stack;

OWN static void build(void)
{
    obstack_init(&stack);
    for (int i = 0; i < 1000; i++)
        obstack_alloc(&stack, 40);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
