/* SPDX-License-Identifier: MIT */
/*
 * thread_leaks.c - lost in a thread that has ended: the stack reaches the thread's function.
 *
 * total: lost=1/24
 * group: lost blocks=1 bytes=24 root=worker stack=build<worker
 */
#include <pthread.h>

#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 24));
}

static void *worker(void *arg)
{
    build();
    scrub();
    return arg;
}

int main(void)
{
    pthread_t t;

    pthread_create(&t, NULL, worker, NULL);
    pthread_join(t, NULL);
    scrub();
    return 0;
}
