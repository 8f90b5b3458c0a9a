/* SPDX-License-Identifier: MIT */
/*
 * killed.c - threads that allocate from eight places and free, each writing down in a shared file what it has done, until
 * somebody kills the process.
 *
 *   killed TRUTH THREADS SEED        TRUTH is made: struct truth of each thread
 *
 * A thread's words say what it has certainly done, and `now` what it may be doing: so at whatever instant the process
 * dies, the truth is known to one operation a thread. A third of the blocks change hands: they are freed by another thread.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "places.h"

#define THREADS_MAX 16u
#define KEPT        256u

/* What one thread has allocated and freed of each place, in blocks; a block of place i has place_size(i) bytes. */
struct truth {
    volatile uint64_t allocated[PLACES], freed[PLACES];
};

struct block {
    void *p;
    unsigned place;
};

static struct truth *truths;
static struct block exchange[64]; /* blocks on their way to another thread */
static pthread_mutex_t exchange_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t seed;

static size_t place_size(unsigned place)
{
    return 24u + 40u * place;
}

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545f4914f6cdd1du >> 32);
}

/* By as many frames more. */
static __attribute__((noinline)) void *below(unsigned depth, unsigned place)
{
    void *p = depth > 0 ? below(depth - 1, place) : places[place]();
    BARRIER();
    return p;
}

static void release(struct truth *truth, struct block *block)
{
    unsigned place = block->place;
    free(block->p);
    truth->freed[place]++;
    block->p = NULL;
}

static void *run(void *arg)
{
    unsigned number = (unsigned)(uintptr_t)arg;
    struct truth *truth = &truths[number];
    struct block kept[KEPT] = {0};
    uint64_t state = seed * 977 + number + 1;

    for (;;) {
        struct block *block = &kept[next_random(&state) % KEPT];
        if (!block->p) {
            block->place = next_random(&state) % PLACES;
            block->p = below(next_random(&state) % 4, block->place);
            truth->allocated[block->place]++;
        } else if (next_random(&state) % 3 != 0) {
            release(truth, block);
        } else {
            pthread_mutex_lock(&exchange_lock);
            struct block *other = &exchange[next_random(&state) % 64], taken = *other;
            *other = *block;
            *block = taken;
            pthread_mutex_unlock(&exchange_lock);
            if (block->p)
                release(truth, block);
        }
    }
    return NULL;
}

int main(int count, char **words)
{
    pthread_t thread;
    unsigned threads = count > 2 ? (unsigned)atoi(words[2]) : 0;
    int fd = count > 3 ? open(words[1], O_RDWR | O_CREAT | O_TRUNC, 0600) : -1;

    if (threads == 0 || threads > THREADS_MAX || fd < 0 || ftruncate(fd, sizeof(struct truth) * threads) != 0)
        return 2;
    seed = strtoull(words[3], NULL, 10);
    truths = mmap(NULL, sizeof(struct truth) * threads, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (truths == MAP_FAILED)
        return 2;
    for (uintptr_t i = 0; i < threads; i++)
        if (pthread_create(&thread, NULL, run, (void *)i) != 0)
            return 2;
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
