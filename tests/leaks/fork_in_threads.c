/* SPDX-License-Identifier: MIT */
/*
 * fork_in_threads.c - eight threads allocate and free while main forks twenty times; each child loses one
 * block.
 *
 * children: 20
 * total:
 * child-total: lost=1/72 inherited=any
 * child-group: lost blocks=1 bytes=72 stack=build<child<fork_all<main
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leak.h"

static volatile int stop;

static void *worker(void *arg)
{
    while (!stop)
        free(OPAQUE(malloc(100)));
    return arg;
}

OWN static void build(void)
{
    OPAQUE(calloc(1, 72));
}

OWN static void child(void)
{
    build();
    scrub();
    exit(0);
}

OWN static void fork_all(void)
{
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();

        if (pid == 0)
            child();
        waitpid(pid, NULL, 0);
    }
}

int main(void)
{
    pthread_t threads[8];

    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, worker, NULL);
    fork_all();
    stop = 1;
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    scrub();
    return 0;
}
