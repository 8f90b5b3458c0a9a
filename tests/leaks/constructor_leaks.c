/* SPDX-License-Identifier: MIT */
/*
 * constructor_leaks.c - lost before main, in a constructor.
 *
 * total: lost=1/24
 * group: lost blocks=1 bytes=24 root=early stack=build<early
 */
#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 24));
}

__attribute__((constructor)) static void early(void)
{
    build();
    scrub();
}

int main(void)
{
    scrub();
    return 0;
}
