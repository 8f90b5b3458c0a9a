/* SPDX-License-Identifier: MIT */
/*
 * coroutine_heap_stack.c - a suspended coroutine on a stack from malloc holds a block: the stack is a block
 * that a global holds.
 *
 * total:
 */
#include <ucontext.h>

#include "leak.h"

static ucontext_t back, coroutine;

OWN static void build(void *volatile *place)
{
    *place = OPAQUE(calloc(1, 64));
}

static void run(void)
{
    void *volatile local;

    build(&local);
    scrub();
    swapcontext(&coroutine, &back);
    OPAQUE(local);
}

static char *stack;

int main(void)
{
    stack = calloc(1, 131072);
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = 131072;
    coroutine.uc_link = &back;
    makecontext(&coroutine, run, 0);
    swapcontext(&back, &coroutine);
    scrub();
    return 0;
}
