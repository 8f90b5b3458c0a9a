/* SPDX-License-Identifier: MIT */
/*
 * exit_from_thread.c - a thread ends the process while main waits with a block in a local variable; the exit
 * code is the thread's.
 *
 * exit: 3
 * total: lost=1/24
 * group: lost blocks=1 bytes=24 root=worker stack=lose<worker
 */
#include <pthread.h>

#include "leak.h"

OWN static void build(void *volatile *place)
{
    *place = OPAQUE(calloc(1, 64));
}

OWN static void lose(void)
{
    OPAQUE(calloc(1, 24));
}

static void *worker(void *arg)
{
    lose();
    scrub();
    exit(3);
    return arg;
}

int main(void)
{
    void *volatile local;
    pthread_t t;

    build(&local);
    scrub();
    pthread_create(&t, NULL, worker, NULL);
    pthread_join(t, NULL);
    scrub();
    return local != NULL;
}
