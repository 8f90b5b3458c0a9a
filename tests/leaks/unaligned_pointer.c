/* SPDX-License-Identifier: MIT */
/*
 * unaligned_pointer.c - a pointer stored at an odd address is no reference: a reference is an aligned word.
 *
 * total: lost=1/64
 * group: lost blocks=1 stack=build<main
 */
#include "leak.h"

static struct {
    char flag;
    char pointer[8];
} __attribute__((aligned(16))) held;

OWN static void build(void)
{
    void *p = OPAQUE(calloc(1, 64));

    memcpy(held.pointer, &p, sizeof(p));
    OPAQUE(&held);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
