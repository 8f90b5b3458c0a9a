/* SPDX-License-Identifier: MIT */
/*
 * main_pthread_exit.c - main ends by pthread_exit(); the last thread ends the process. What main lost is
 * lost.
 *
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
    return arg;
}

int main(void)
{
    pthread_t t;

    build();
    pthread_create(&t, NULL, worker, NULL);
    pthread_detach(t);
    scrub();
    pthread_exit(NULL);
}
