/* SPDX-License-Identifier: MIT */
/*
 * end_only.c - a global that points one past the block's last usable byte.
 *
 * The size is of a class that nothing else here uses, so that no other block begins where this one ends.
 *
 * total: possible=1/6000
 * group: possible blocks=1 stack=build<main
 */
#include <malloc.h>

#include "leak.h"

static char *held;

OWN static void build(void)
{
    char *p = OPAQUE(calloc(1, 6000));

    held = p + malloc_usable_size(p);
    OPAQUE(&held);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
