/* SPDX-License-Identifier: MIT */
/*
 * A storm: signals at 10 kHz whose handlers allocate and free, small and large, while their threads do the same;
 * each block is filled with a pattern of its own that nobody else may write over.
 *
 *     signal [SECONDS]     default 2
 */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "expect.h"

#define THREADS 3
#define SLOTS   128
#define KEPT    16

struct block {
    unsigned char *p;
    size_t size;
    unsigned char pattern;
};

static volatile int stop;
static long hits[THREADS];
static __thread int self;
static __thread unsigned handler_seed = 7;
static __thread struct block kept[KEPT]; /* the handler's own, from one call to the next */

/* Mostly small, now and then a span or a mapping. */
static size_t any_size(unsigned *seed)
{
    unsigned r = rand_r(seed);
    if (r % 64 == 0)
        return 40000 + rand_r(seed) % 200000;
    if (r % 2048 == 1)
        return 3000000;
    return rand_r(seed) % (r % 8 == 0 ? 20000 : 700);
}

/* The start and a few bytes of the rest: a whole megabyte a time would be a test of memset. */
#define NEXT(i) ((i) < 512 ? (i) + 1 : (i) + 1021)

static void fill(struct block *block, unsigned char pattern)
{
    block->pattern = pattern;
    for (size_t i = 0; i < block->size; i = NEXT(i))
        block->p[i] = pattern;
}

static int holds(const struct block *block, size_t size)
{
    for (size_t i = 0; i < size; i = NEXT(i))
        if (block->p[i] != block->pattern)
            return 0;
    return 1;
}

static int is_zero(const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i = NEXT(i))
        if (p[i])
            return 0;
    return 1;
}

static void renew(struct block *block, unsigned *seed)
{
    size_t size = any_size(seed);
    unsigned how = rand_r(seed) % 8;
    if (block->p && !holds(block, block->size))
        abort();
    if (block->p && how == 0) {
        size_t old = block->size;
        block->p = realloc(block->p, size + 1);
        block->size = size + 1;
        if (!block->p || !holds(block, old < block->size ? old : block->size))
            abort();
    } else {
        void *gone = block->p;
        block->p = NULL;
        free(gone);
        block->size = size;
        block->p = how == 1 ? calloc(1, size) : how == 2 ? aligned_alloc(64, size) : malloc(size);
        if (!block->p || (how == 1 && !is_zero(block->p, size)) || ((uintptr_t)block->p & 15) != 0)
            abort();
    }
    fill(block, (unsigned char)rand_r(seed));
}

static void on_tick(int number)
{
    int saved = errno;
    (void)number;
    for (int i = 0; i < 4; i++)
        renew(&kept[rand_r(&handler_seed) % KEPT], &handler_seed);
    hits[self]++;
    errno = saved;
}

/* 10 kHz for this thread, by its own processor time: on a busy machine as on an idle one. */
static timer_t start_timer(int number)
{
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = number};
    event._sigev_un._tid = (int)syscall(SYS_gettid);
    struct itimerspec every = {{0, 100000}, {0, 100000}};
    EXPECT(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    EXPECT(timer_settime(timer, 0, &every, NULL) == 0);
    return timer;
}

static void *churn(void *arg)
{
    struct block slots[SLOTS] = {0};
    self = (int)(intptr_t)arg;
    unsigned seed = 1 + (unsigned)self;
    handler_seed += (unsigned)self;
    timer_t timer = start_timer(self == 1 ? SIGALRM : SIGPROF);
    while (!stop)
        renew(&slots[rand_r(&seed) % SLOTS], &seed);
    timer_delete(timer);
    for (int i = 0; i < SLOTS; i++)
        free(slots[i].p);
    for (int i = 0; i < KEPT; i++)
        free(kept[i].p);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread[THREADS];
    alarm(0);
    struct sigaction action = {.sa_handler = on_tick};
    sigaction(SIGPROF, &action, NULL);
    signal(SIGALRM, on_tick);
    for (intptr_t i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, churn, (void *)i);
    struct timespec left = {argc > 1 ? atoi(argv[1]) : 2, 0};
    while (nanosleep(&left, &left) != 0)
        ;
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; i++)
        EXPECT(hits[i] > 100);
    if (getenv("SHOW_HITS"))
        fprintf(stderr, "%ld %ld %ld\n", hits[0], hits[1], hits[2]);
    for (int i = 0; i < 10000; i++)
        free(malloc((size_t)i));
    return expect_end();
}
