/* SPDX-License-Identifier: MIT */
/*
 * held_by_vector_register.c - the only pointer is in xmm12 of a thread that runs, outside any call.
 *
 * total:
 */
#include <pthread.h>
#include <unistd.h>

#include "leak.h"

static volatile int spinning;

OWN static void *build(void)
{
    return OPAQUE(calloc(1, 64));
}

/* The value moves from the call's result into xmm12. What scrub() runs uses none of the registers from xmm8 on, and it
 * leaves zeros in those that a call may change and on the stack below. */
static void *worker(void *arg)
{
    void *p = build();

    (void)arg;
    __asm__ volatile("movq %0, %%xmm12\n\txor %k0, %k0" : "+a"(p) : : "xmm12", "memory");
    scrub();
    __asm__ volatile("movl $1, %0\n1:\tpause\n\tjmp 1b" : "=m"(spinning) : : "memory");
    return NULL;
}

int main(void)
{
    pthread_t t;

    pthread_create(&t, NULL, worker, NULL);
    while (!spinning)
        usleep(1000);
    scrub();
    return 0;
}
