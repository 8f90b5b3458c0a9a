/* SPDX-License-Identifier: MIT */
/*
 * held_by_pthread_key_0.c - the first key of pthread_key_create is the only holder, in a thread that waits
 * and in main.
 *
 * total:
 */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "leak.h"

static sem_t ready;

static pthread_key_t key;

OWN static void build(void)
{
    pthread_setspecific(key, OPAQUE(calloc(1, 64)));
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

    pthread_key_create(&key, NULL);
    sem_init(&ready, 0, 0);
    pthread_create(&t, NULL, worker, NULL);
    sem_wait(&ready);
    build();
    scrub();
    return 0;
}
