/* SPDX-License-Identifier: MIT */
/*
 * encoded_pointer.c - a pointer that is only kept turned round: no word in the process is a reference, so the
 * block counts as lost.
 *
 * total: lost=1/64
 * group: lost blocks=1 stack=build<main
 */
#include "leak.h"

static uintptr_t held;

OWN static void build(void)
{
    held = ~(uintptr_t)OPAQUE(calloc(1, 64));
    OPAQUE(&held);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
