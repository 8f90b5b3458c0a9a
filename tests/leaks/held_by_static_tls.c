/* SPDX-License-Identifier: MIT */
/*
 * held_by_static_tls.c - thread variables of the program, of the main thread and of one that waits, are the
 * only pointers.
 *
 * total:
 */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "leak.h"

static sem_t ready;

static __thread void *slot;

OWN static void build(void)
{
    slot = OPAQUE(calloc(1, 64));
    OPAQUE(&slot);
}

static void *worker(void *arg)
{
    build();
    scrub();
    sem_post(&ready);
    for (;;)
        pause();
    return arg;
}

int main(void)
{
    pthread_t t;

    sem_init(&ready, 0, 0);
    pthread_create(&t, NULL, worker, NULL);
    sem_wait(&ready);
    build();
    scrub();
    return 0;
}
