/* SPDX-License-Identifier: MIT */
/*
 * held_by_readonly_mapping.c - the only pointer is in a mapping that was sealed read-only after it was
 * written.
 *
 * total: possible=1/64
 * group: possible blocks=1 stack=build<main
 */
#include <sys/mman.h>
#include <unistd.h>

#include "leak.h"

static void **area;

OWN static void build(void)
{
    area = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area[100] = OPAQUE(calloc(1, 64));
    mprotect(area, 65536, PROT_READ);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
