/* SPDX-License-Identifier: MIT */
/*
 * frozen.c - N threads wait, each with a block that only its stack holds; main loses one block of 40 bytes and ends.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sem_t ready;

__attribute__((noipa)) static void build(void *volatile *place, size_t size)
{
    *place = calloc(1, size);
}

__attribute__((noipa)) static void lose(void)
{
    void *volatile local;

    build(&local, 40);
    local = NULL;
}

static void *wait_with_a_block(void *arg)
{
    void *volatile local;

    build(&local, 64);
    sem_post(&ready);
    for (;;)
        pause();
    return local ? arg : NULL;
}

/* What lies dead below main's frame is overwritten. */
__attribute__((noipa)) static void scrub(void)
{
    volatile char area[65536];

    memset((char *)area, 0, sizeof(area));
    __asm__ volatile("" : : "r"(area) : "memory");
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 0;
    pthread_attr_t attr;

    sem_init(&ready, 0, 0);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    for (int i = 0; i < count; i++) {
        pthread_t thread;

        if (pthread_create(&thread, &attr, wait_with_a_block, NULL) != 0) {
            perror("pthread_create");
            return 1;
        }
        sem_wait(&ready);
    }
    lose();
    scrub();
    return 0;
}
