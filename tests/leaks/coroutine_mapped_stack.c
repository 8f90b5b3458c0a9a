/* SPDX-License-Identifier: MIT */
/*
 * coroutine_mapped_stack.c - a suspended coroutine on a stack from mmap holds a block: no leak, though
 * perhaps only possibly held.
 *
 * held: 1
 */
#include <sys/mman.h>
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
    stack = mmap(NULL, 131072, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    getcontext(&coroutine);
    coroutine.uc_stack.ss_sp = stack;
    coroutine.uc_stack.ss_size = 131072;
    coroutine.uc_link = &back;
    makecontext(&coroutine, run, 0);
    swapcontext(&back, &coroutine);
    scrub();
    return 0;
}
