/* SPDX-License-Identifier: MIT */
/*
 * held_by_thread_result.c - the value a thread ended with, not joined yet, is the only pointer:
 * pthread_join() would still give it.
 *
 * held: 1
 */
#include <pthread.h>
#include <unistd.h>

#include "leak.h"

static void *worker(void *arg)
{
    (void)arg;
    return OPAQUE(calloc(1, 64));
}

int main(void)
{
    pthread_t t;

    pthread_create(&t, NULL, worker, NULL);
    usleep(100000);
    scrub();
    return 0;
}
