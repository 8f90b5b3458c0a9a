/* SPDX-License-Identifier: MIT */
/*
 * held_by_pthread_key_90.c - key 90 is the only holder: its value is in a table of the second level, a block
 * of the C library's.
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

    do {
        if (pthread_key_create(&key, NULL) != 0)
            return 1;
    } while (key < 90);
    sem_init(&ready, 0, 0);
    pthread_create(&t, NULL, worker, NULL);
    sem_wait(&ready);
    build();
    scrub();
    return 0;
}
