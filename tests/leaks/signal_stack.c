/* SPDX-License-Identifier: MIT */
/*
 * signal_stack.c - a thread waits in a signal handler on its alternate stack; the handler's and the
 * interrupted frame's blocks are held.
 *
 * total:
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include "leak.h"

static sem_t ready;

static char alternate[131072];

OWN static void build(void *volatile *place)
{
    *place = OPAQUE(calloc(1, 64));
}

static void on_signal(int number)
{
    void *volatile local;

    build(&local);
    scrub();
    sem_post(&ready);
    for (;;)
        pause();
    OPAQUE(local);
    OPAQUE(number);
}

static void *worker(void *arg)
{
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    void *volatile local;

    build(&local);
    scrub();
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    pthread_kill(pthread_self(), SIGUSR1);
    return local ? arg : NULL;
}

int main(void)
{
    pthread_t t;

    sem_init(&ready, 0, 0);
    pthread_create(&t, NULL, worker, NULL);
    sem_wait(&ready);
    scrub();
    return 0;
}
