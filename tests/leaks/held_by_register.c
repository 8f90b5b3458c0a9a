/* SPDX-License-Identifier: MIT */
/*
 * held_by_register.c - the only pointer is in r12 of a thread that runs, outside any call.
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

/* The value moves from the call's result into r12, and is in no other register nor on the stack. */
static void *worker(void *arg)
{
    void *p = build();

    (void)arg;
    __asm__ volatile("mov %0, %%r12\n\txor %k0, %k0\n\tmovl $1, %1\n"
                     "1:\tpause\n\tjmp 1b"
                     : "+a"(p), "=m"(spinning)
                     :
                     : "r12", "memory");
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
