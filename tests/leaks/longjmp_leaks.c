/* SPDX-License-Identifier: MIT */
/*
 * longjmp_leaks.c - a block lost because longjmp() left the frame that held it.
 *
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 stack=inner<outer<main
 */
#include <setjmp.h>

#include "leak.h"

static jmp_buf back;

OWN static void inner(void)
{
    void *volatile local = calloc(1, 40);

    if (local)
        longjmp(back, 1);
    free(local);
}

OWN static void outer(void)
{
    if (setjmp(back) == 0)
        inner();
}

int main(void)
{
    outer();
    scrub();
    return 0;
}
