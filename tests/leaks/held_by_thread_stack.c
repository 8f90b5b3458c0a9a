/* SPDX-License-Identifier: MIT */
/*
 * held_by_thread_stack.c - the only pointer is in a local variable of a thread that waits.
 *
 * total:
 */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "leak.h"

static sem_t ready;

OWN static void build(void *volatile *place)
{
    *place = OPAQUE(calloc(1, 64));
}

static void *worker(void *arg)
{
    void *volatile local;

    build(&local);
    scrub();
    sem_post(&ready);
    for (;;)
        pause();
    return local ? arg : NULL;
}

int main(void)
{
    pthread_t t;

    sem_init(&ready, 0, 0);
    pthread_create(&t, NULL, worker, NULL);
    sem_wait(&ready);
    scrub();
    return 0;
}
