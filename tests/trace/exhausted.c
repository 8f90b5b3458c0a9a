/* SPDX-License-Identifier: MIT */
/*
 * exhausted.c - threads that allocate from eight places until there is no more, each writing down in a shared file what it
 * has done; then the process dies of it.
 *
 *   exhausted TRUTH THREADS memory       until malloc refuses each thread its smallest blocks; when all were refused, abort()
 *   exhausted TRUTH THREADS killed       every block is written to, until somebody kills the process
 *   exhausted TRUTH THREADS file OTHER   so many blocks, and then one thread writes to OTHER until a signal comes
 *   exhausted TRUTH THREADS file OTHER STACKS   the same, the blocks from so many stacks (a power of two), and a late thread
 *
 * A block in four is freed at once, and one in four of what was kept is freed later, by whom it belongs to. Where malloc
 * refuses, or the signal is the thread's own, no thread is in the middle of an operation: then the truth is exact.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "places.h"

#define THREADS_MAX 8u
#define RING        4096u
#define FILE_BLOCKS 20000u

/* What one thread has allocated and freed of each place, in blocks; a block of place i has place_size(i) bytes. */
struct truth {
    volatile uint64_t allocated[PLACES], freed[PLACES];
};

static struct truth *truths;
static pthread_barrier_t all_here, all_refused;
static bool written;
static uint32_t stacks = 1, blocks = UINT32_MAX;

static size_t place_size(unsigned place)
{
    static const size_t sizes[PLACES] = {24, 72, 200, 1000, 4000, 20000, 70000, 300000};

    return sizes[place];
}

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545f4914f6cdd1du >> 32);
}

struct kept {
    void *p;
    unsigned place;
};

static void release(struct truth *truth, struct kept *kept)
{
    free(kept->p);
    truth->freed[kept->place]++;
    kept->p = NULL;
}

/* Of places below `sizes`; what falls out of the ring is kept for good. Of what is refused, and more, no more is asked for:
 * to answer no, everything that is free is looked at. */
static unsigned one_more(struct truth *truth, struct kept *ring, uint64_t *state, unsigned sizes)
{
    uint32_t chance = next_random(state);
    struct kept *slot = &ring[chance % RING], new = {.place = (chance >> 12) % sizes};

    if (slot->p && (chance >> 24 & 3) == 0) {
        release(truth, slot);
        return sizes;
    }
    new.p = deeper(next_random(state), stacks, new.place);
    if (!new.p)
        return new.place;
    truth->allocated[new.place]++;
    if (written)
        memset(new.p, 1, place_size(new.place));
    if ((chance >> 26 & 3) == 0)
        release(truth, &new);
    else
        *slot = new;
    return sizes;
}

static void *run(void *arg)
{
    static struct kept rings[THREADS_MAX][RING];
    unsigned number = (unsigned)(uintptr_t)arg;
    unsigned sizes = PLACES;
    uint64_t state = 977 + number;

    /* Without memory for its tallies a thread has no stacks: each has its own before the first takes all that is left. */
    truths[number].allocated[0]++;
    release(&truths[number], &(struct kept){deeper(0, stacks, 0), 0});
    pthread_barrier_wait(&all_here);
    for (uint32_t i = 0; i < blocks && sizes > 0; i++)
        sizes = one_more(&truths[number], rings[number], &state, sizes);
    pthread_barrier_wait(&all_refused);
    for (;;)
        pause();
    return NULL;
}

static void *come_late(void *arg)
{
    truths[0].allocated[0]++;
    release(&truths[0], &(struct kept){deeper(0, stacks, 0), 0});
    return arg;
}

static void write_forever(const char *path)
{
    static const char some[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    while (fd >= 0 && write(fd, some, sizeof(some)) > 0)
        ;
}

int main(int count, char **words)
{
    pthread_t thread;
    unsigned threads = count > 3 ? (unsigned)atoi(words[2]) : 0;
    int fd = count > 3 ? open(words[1], O_RDWR | O_CREAT | O_TRUNC, 0600) : -1;

    if (threads == 0 || threads > THREADS_MAX || fd < 0 || ftruncate(fd, sizeof(struct truth) * threads) != 0)
        return 2;
    truths = mmap(NULL, sizeof(struct truth) * threads, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (truths == MAP_FAILED || pthread_barrier_init(&all_here, NULL, threads + 1) != 0 ||
        pthread_barrier_init(&all_refused, NULL, threads + 1) != 0)
        return 2;
    written = words[3][0] == 'k';
    if (count > 4)
        blocks = FILE_BLOCKS;
    if (count > 5)
        stacks = (uint32_t)atoi(words[5]);
    for (uintptr_t i = 0; i < threads; i++)
        if (pthread_create(&thread, NULL, run, (void *)i) != 0)
            return 2;
    pthread_barrier_wait(&all_here);
    pthread_barrier_wait(&all_refused);
    /* There may be no room in the trace for a thread that begins now. It must not hide the others. */
    if (stacks > 1 &&
        (pthread_create(&thread, NULL, come_late, NULL) != 0 || pthread_join(thread, NULL) != 0))
        return 2;
    if (count > 4)
        write_forever(words[4]);
    abort();
}
