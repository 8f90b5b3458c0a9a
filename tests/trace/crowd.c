/* SPDX-License-Identifier: MIT */
/*
 * crowd.c - many threads, some at a time, that allocate from the same few thousand stacks, free most of it, and leave the rest
 * to the threads after them; then the process kills itself.
 *
 *   crowd TRUTH ALIVE THREADS ROUNDS [raw]
 *
 * ALIVE threads live at once: each has been everywhere, ROUNDS times, before the first of them ends; THREADS there are in
 * all. With raw, every third ends by the raw system call, of which no handler of its thread hears. TRUTH is written before the
 * end: what was allocated and freed of each place, in blocks.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "places.h"

#define WAYS      16u /* that lead to each place */
#define ALIVE_MAX 1024u

struct truth {
    uint64_t allocated[PLACES], freed[PLACES];
};

struct left {
    void *p;
    unsigned place;
};

struct life {
    pthread_t thread;
    unsigned number;
    struct truth done;
    struct left left; /* by this thread's predecessor, then by itself */
};

static struct life lives[ALIVE_MAX];
static pthread_barrier_t everywhere;
static unsigned rounds;
static bool raw;

static size_t place_size(unsigned place)
{
    return 24u + 40u * place;
}

static void release(struct truth *done, struct left *block)
{
    free(block->p);
    done->freed[block->place] += block->p != NULL;
    block->p = NULL;
}

/* Two blocks of each stack at a time; of each round the last block stays for the next, and of the last one for whoever
 * comes after this thread. */
static void be_everywhere(struct life *life)
{
    for (unsigned place = 0; place < PLACES; place++) {
        for (unsigned way = 0; way < WAYS; way++) {
            struct left one = {deeper(way, WAYS, place), place}, two = {deeper(way, WAYS, place), place};

            life->done.allocated[place] += 2;
            release(&life->done, &one);
            release(&life->done, &life->left);
            life->left = two;
        }
    }
    if (life->number % PLACES != PLACES - 1) {
        release(&life->done, &life->left);
        life->left = (struct left){places[life->number % PLACES](), life->number % PLACES};
        life->done.allocated[life->number % PLACES]++;
    }
}

static void *run(void *arg)
{
    struct life *life = arg;

    for (unsigned i = 0; i < rounds; i++)
        be_everywhere(life);
    pthread_barrier_wait(&everywhere);
    if (raw && life->number % 3 == 0)
        syscall(SYS_exit, 0);
    return NULL;
}

static bool tell(const char *path)
{
    struct truth sum = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    for (unsigned i = 0; i < ALIVE_MAX; i++) {
        for (unsigned place = 0; place < PLACES; place++) {
            sum.allocated[place] += lives[i].done.allocated[place];
            sum.freed[place] += lives[i].done.freed[place];
        }
    }
    return fd >= 0 && write(fd, &sum, sizeof(sum)) == (ssize_t)sizeof(sum);
}

int main(int count, char **words)
{
    unsigned alive = count > 4 ? (unsigned)atoi(words[2]) : 0, threads = alive ? (unsigned)atoi(words[3]) : 0;

    if (alive == 0 || alive > ALIVE_MAX || pthread_barrier_init(&everywhere, NULL, alive) != 0)
        return 2;
    rounds = (unsigned)atoi(words[4]);
    raw = count > 5 && strcmp(words[5], "raw") == 0;
    for (unsigned begun = 0; begun < threads; begun += alive) {
        for (unsigned i = 0; i < alive; i++) {
            lives[i].number = begun + i;
            if (pthread_create(&lives[i].thread, NULL, run, &lives[i]) != 0)
                return 2;
        }
        for (unsigned i = 0; i < alive; i++)
            pthread_join(lives[i].thread, NULL);
    }
    if (!tell(words[1]))
        return 2;
    kill(getpid(), SIGKILL);
    return 0;
}
