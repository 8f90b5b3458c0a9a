/* SPDX-License-Identifier: MIT */
/*
 * prot_none_inside.c - a lost block has a page that cannot be read; what is beyond that page still counts.
 *
 * total: lost=1/262144 indirect=1/48
 * group: lost blocks=1 bytes=262144 indirect=1/48 stack=build<main
 */
#include <sys/mman.h>

#include "leak.h"

static char *kept;

OWN static char *punched(void)
{
    char *p = aligned_alloc(4096, 262144);

    memset(p, 0, 262144);
    mprotect(p + 65536, 4096, PROT_NONE);
    return OPAQUE(p);
}

OWN static void build(void)
{
    char *p = aligned_alloc(4096, 262144);

    memset(p, 0, 262144);
    *(void **)(p + 131072) = OPAQUE(calloc(1, 48));
    mprotect(p + 65536, 4096, PROT_NONE);
    OPAQUE(p);
}

/* The same in a block that is held: the scan meets it whatever it does with lost ones. */
OWN static void keep(void)
{
    kept = punched();
    *(void **)(kept + 131072) = OPAQUE(calloc(1, 48));
}

int main(void)
{
    build();
    keep();
    scrub();
    return 0;
}
