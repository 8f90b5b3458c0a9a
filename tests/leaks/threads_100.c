/* SPDX-License-Identifier: MIT */
/*
 * threads_100.c - a hundred threads wait, each with a block in a local variable.
 *
 * threads: 101
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
    pthread_attr_t attr;

    sem_init(&ready, 0, 0);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 131072);
    for (int i = 0; i < 100; i++) {
        pthread_t t;

        pthread_create(&t, &attr, worker, NULL);
        sem_wait(&ready);
    }
    scrub();
    return 0;
}
