/* SPDX-License-Identifier: MIT */
/*
 * held_by_alternate_stack.c - alternate signal stacks whose only pointer is the kernel's: of the thread that exits, of
 * one that sleeps, of one that stands in a handler on it, and one that begins inside its block.
 *
 * total:
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include "leak.h"

#define STACK_SIZE 131072

static sem_t ready;

OWN static void use_new_stack(size_t skip)
{
    char *block = OPAQUE(malloc(STACK_SIZE));
    stack_t stack = {.ss_sp = block + skip, .ss_size = STACK_SIZE - skip};

    sigaltstack(&stack, NULL);
}

static void on_signal(int number)
{
    scrub();
    sem_post(&ready);
    for (;;)
        pause();
    OPAQUE(number);
}

static void *sleeper(void *arg)
{
    use_new_stack(arg ? 4096 : 0);
    scrub();
    sem_post(&ready);
    for (;;)
        pause();
    return arg;
}

static void *handling(void *arg)
{
    use_new_stack(0);
    scrub();
    pthread_kill(pthread_self(), SIGUSR1);
    return arg;
}

int main(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    pthread_t t;

    sem_init(&ready, 0, 0);
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&t, NULL, sleeper, NULL);
    pthread_create(&t, NULL, sleeper, &ready);
    pthread_create(&t, NULL, handling, NULL);
    for (int i = 0; i < 3; i++)
        sem_wait(&ready);
    use_new_stack(0);
    scrub();
    return 0;
}
