/* SPDX-License-Identifier: MIT */
/*
 * obstack_object.c - the obstack is forgotten and only an object inside its chunk is known: an interior
 * pointer.
 *
 * total: possible=1
 * group: possible blocks=1 root=main
 */
#include <obstack.h>
#include "leak.h"

#define obstack_chunk_alloc malloc
#define obstack_chunk_free  free

static void *object;

OWN static void build(void)
{
    struct obstack stack;

    obstack_init(&stack);
    obstack_alloc(&stack, 40);
    object = obstack_alloc(&stack, 40);
    OPAQUE(&object);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
