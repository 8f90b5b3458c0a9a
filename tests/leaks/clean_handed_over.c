/* SPDX-License-Identifier: MIT */
/*
 * clean_handed_over.c - blocks made in one thread and freed in another, with both threads gone at the end.
 *
 * total:
 */
#include <pthread.h>

#include "leak.h"

static void *blocks[5000];

static void *maker(void *arg)
{
    for (unsigned i = 0; i < 5000; i++)
        blocks[i] = malloc(1 + i % 700);
    return arg;
}

static void *breaker(void *arg)
{
    for (unsigned i = 0; i < 5000; i++)
        free(blocks[i]);
    return arg;
}

OWN static void run(void *(*body)(void *))
{
    pthread_t t;

    pthread_create(&t, NULL, body, NULL);
    pthread_join(t, NULL);
}

int main(void)
{
    run(maker);
    run(breaker);
    scrub();
    return 0;
}
