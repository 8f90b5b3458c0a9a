/* SPDX-License-Identifier: MIT */
/*
 * tagged_pointer.c - a global that keeps a flag in the pointer's lowest bit.
 *
 * total: possible=1/64
 * group: possible blocks=1 stack=build<main
 */
#include "leak.h"

static uintptr_t held;

OWN static void build(void)
{
    held = (uintptr_t)OPAQUE(calloc(1, 64)) | 1;
    OPAQUE(&held);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
