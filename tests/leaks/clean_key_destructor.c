/* SPDX-License-Identifier: MIT */
/*
 * clean_key_destructor.c - a key's destructor frees what the thread held.
 *
 * total:
 */
#include <pthread.h>

#include "leak.h"

static pthread_key_t key;

static void *worker(void *arg)
{
    pthread_setspecific(key, OPAQUE(calloc(1, 64)));
    return arg;
}

int main(void)
{
    pthread_t t;

    pthread_key_create(&key, free);
    for (int i = 0; i < 50; i++) {
        pthread_create(&t, NULL, worker, NULL);
        pthread_join(t, NULL);
    }
    scrub();
    return 0;
}
