/* SPDX-License-Identifier: MIT */
/*
 * end_only.c - a global that points one past the last byte that was asked for.
 *
 * total: possible=1/6000
 * group: possible blocks=1 bytes=6000 stack=build<main
 */
#include "leak.h"

static char *held;

OWN static void build(void)
{
    char *p = OPAQUE(calloc(1, 6000));

    held = p + 6000;
    OPAQUE(&held);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
