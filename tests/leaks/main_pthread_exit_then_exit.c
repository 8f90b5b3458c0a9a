/* SPDX-License-Identifier: MIT */
/*
 * main_pthread_exit_then_exit.c - main ends by pthread_exit(), and another thread calls exit() later.
 *
 * exit: 5
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 stack=build<main
 */
#include <pthread.h>
#include <unistd.h>

#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 40));
}

static void *worker(void *arg)
{
    usleep(100000);
    exit(5);
    return arg;
}

int main(void)
{
    pthread_t t;

    build();
    pthread_create(&t, NULL, worker, NULL);
    scrub();
    pthread_exit(NULL);
}
