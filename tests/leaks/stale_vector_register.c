/* SPDX-License-Identifier: MIT */
/*
 * stale_vector_register.c - a thread lost its block and sleeps in a function of the C library; xmm12 still has the
 * pointer, but no caller can have meant it to last.
 *
 * total: lost=1/64
 * group: lost blocks=1 stack=lose<worker root=worker
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "leak.h"

static volatile int sleeper;

OWN static void lose(void)
{
    void *p = OPAQUE(calloc(1, 64));

    __asm__ volatile("movq %0, %%xmm12\n\txor %k0, %k0" : "+a"(p) : : "xmm12", "memory");
}

static void *worker(void *arg)
{
    int self = gettid();

    lose();
    scrub();
    sleeper = self;
    for (;;)
        pause();
    return arg;
}

static int is_asleep(int tid)
{
    char path[64], text[256] = "";
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    fd = open(path, O_RDONLY);
    if (read(fd, text, sizeof(text) - 1) < 0)
        text[0] = '\0';
    close(fd);
    return strstr(text, ") S ") != NULL;
}

int main(void)
{
    pthread_t t;

    pthread_create(&t, NULL, worker, NULL);
    while (!sleeper || !is_asleep(sleeper))
        usleep(1000);
    scrub();
    return 0;
}
