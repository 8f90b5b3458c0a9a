/* SPDX-License-Identifier: MIT */
/*
 * own_libunwind.c - a program with its own libunwind, which it uses: it gets the same stack, and so do we.
 *
 * libs: -lunwind
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 stack=build<main
 */
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include "leak.h"

OWN static int depth(void)
{
    unw_context_t context;
    unw_cursor_t cursor;
    int n = 0;

    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    while (unw_step(&cursor) > 0)
        n++;
    return n;
}

OWN static void build(void)
{
    OPAQUE(calloc(1, 40));
    if (depth() < 3)
        exit(1);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
