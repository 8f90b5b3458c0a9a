/* SPDX-License-Identifier: MIT */
/*
 * held_by_register_in_kernel.c - the only pointer is in rbx of a thread that sleeps in the kernel.
 *
 * total:
 */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "leak.h"

static sem_t ready;

static int pipe_ends[2];

OWN static void *build(void)
{
    return OPAQUE(calloc(1, 64));
}

OWN static void tell(void)
{
    sem_post(&ready);
}

/* read(2) made by hand, so that nothing but rbx knows the block while it waits. */
static void *worker(void *arg)
{
    register void *p __asm__("rbx") = build();
    long buffer[2] = {0};

    (void)arg;
    tell();
    __asm__ volatile("1:\txor %%eax, %%eax\n\tsyscall\n\tjmp 1b"
                     :
                     : "r"(p), "D"((long)pipe_ends[0]), "S"(buffer), "d"(8L)
                     : "rax", "rcx", "r11", "memory");
    return NULL;
}

int main(void)
{
    pthread_t t;

    if (pipe(pipe_ends) != 0)
        return 1;
    sem_init(&ready, 0, 0);
    pthread_create(&t, NULL, worker, NULL);
    sem_wait(&ready);
    usleep(20000);
    scrub();
    return 0;
}
