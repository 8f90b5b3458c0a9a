/* SPDX-License-Identifier: MIT */
/*
 * aligned.c - every aligned way to allocate, all lost.
 *
 * total: lost=6/1069296
 * group: lost blocks=1 stack=by_aligned_alloc<build<main
 * group: lost blocks=1 stack=by_posix_memalign<build<main
 * group: lost blocks=1 stack=by_memalign<build<main
 * group: lost blocks=1 stack=by_valloc<build<main
 * group: lost blocks=1 stack=by_pvalloc<build<main
 * group: lost blocks=1 bytes=1048576 stack=by_large<build<main
 */
#include <malloc.h>

#include "leak.h"

OWN static void by_aligned_alloc(void)
{
    memset(OPAQUE(aligned_alloc(64, 128)), 0, 128);
}

OWN static void by_posix_memalign(void)
{
    void *p;

    if (posix_memalign(&p, 4096, 8192) == 0)
        memset(OPAQUE(p), 0, 8192);
}

OWN static void by_memalign(void)
{
    memset(OPAQUE(memalign(32, 112)), 0, 112);
}

OWN static void by_valloc(void)
{
    memset(OPAQUE(valloc(4096)), 0, 4096);
}

/* pvalloc() rounds the size up to whole pages itself; 8,192 stays 8,192. */
OWN static void by_pvalloc(void)
{
    memset(OPAQUE(pvalloc(8192)), 0, 8192);
}

OWN static void by_large(void)
{
    memset(OPAQUE(aligned_alloc(1048576, 1048576)), 0, 4096);
}

OWN static void build(void)
{
    by_aligned_alloc();
    by_posix_memalign();
    by_memalign();
    by_valloc();
    by_pvalloc();
    by_large();
}

int main(void)
{
    build();
    scrub();
    return 0;
}
