/* SPDX-License-Identifier: MIT */
/*
 * held_by_shared_mapping.c - the only pointer is in a shared mapping of a memory file.
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
    int fd = memfd_create("shared", 0);

    if (fd < 0 || ftruncate(fd, 65536) != 0)
        exit(1);
    area = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    area[100] = OPAQUE(calloc(1, 64));
}

int main(void)
{
    build();
    scrub();
    return 0;
}
