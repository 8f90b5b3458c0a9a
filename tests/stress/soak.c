/* SPDX-License-Identifier: MIT */
/*
 * soak.c - two threads of mixed work for half an hour: does resident memory stay where it is?
 *
 *   soak [MINUTES [SEED]]          tests/stress/soak: linked with the pure allocator
 *
 *   worker (2, each replaced by a new thread now and then):  a live set of a constant size in bytes, in sizes of all kinds;
 *        blocks that live short, long, or for ever; some handed to the other worker; now and then a child that works, too
 *   watcher: every ten seconds a line "seconds live-MiB resident-MiB operations threads forks"
 *
 * At the end verify is clean, and a line is fitted to the resident memory of the last two thirds, in KiB a minute. It
 * must be flat within its own noise: a slope that is both over 3 standard errors and over SLOPE_MOST fails, by exit
 * code 1. The program is built twice: with the pure allocator (soak_pure.c), where verify can be asked, and over
 * malloc (soak_malloc.c), to be run under the preloaded library.
 */
#include "tests/stress/soak.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS    2
#define SLOTS      6000
#define LIVE_BYTES ((size_t)24 << 20) /* each worker's */
#define LIFE_STEPS 3000000u           /* of one worker thread, on average */
#define MAILBOXES  256
#define REST_STEPS 4096
#define REST_US                                                                                              \
    16000 /* from one rest to the next: what is cached grows with the pace, and that must not be the machine's load */
#define SAMPLE_SECONDS 10
#define SAMPLES_MAX    20000
#define SLOPE_MOST     64.0 /* KiB a minute */

struct block {
    unsigned char *p;
    size_t size;
};

struct worker {
    struct block slot[SLOTS];
    size_t bytes;
    uint64_t seed;
    unsigned number;
};

static struct worker worker[WORKERS];
static struct block *mailbox[MAILBOXES];
static bool stop;
static uint64_t operations, lives, forks;

static void fail(const char *what)
{
    fprintf(stderr, "soak: %s\n", what);
    abort();
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* --- blocks ----------------------------------------------------------------------------------------------------- */

/* Mostly small, some of pages, few of megabytes; the mean drifts up and down over a million steps or so. */
static size_t random_size(struct worker *self, uint64_t step)
{
    uint64_t kind = next_random(&self->seed) % 4096, n = next_random(&self->seed);
    size_t drift = 100 + (size_t)(step >> 8) % 4096;
    if (kind == 0)
        return n % (4u << 20) + 1;
    if (kind < 24)
        return n % 300000 + 1;
    return kind < 400 ? n % 20000 + 1 : n % drift + 1;
}

static void mark(struct block *block)
{
    block->p[0] = (unsigned char)block->size;
    block->p[block->size - 1] = (unsigned char)block->size;
}

static void check_mark(const struct block *block)
{
    unsigned char value = (unsigned char)block->size;
    if (block->p[0] != value || block->p[block->size - 1] != value)
        fail("a block was written over");
}

static void block_drop(struct worker *self, struct block *block)
{
    check_mark(block);
    self->bytes -= block->size;
    soak_free(block->p);
    block->p = NULL;
}

static void block_take(struct worker *self, struct block *block, uint64_t step)
{
    block->size = random_size(self, step);
    block->p = soak_malloc(block->size);
    if (block->p == NULL)
        fail("memory is out");
    mark(block);
    self->bytes += block->size;
}

static void block_resize(struct worker *self, struct block *block, uint64_t step)
{
    size_t size = random_size(self, step);
    unsigned char first = block->p[0];
    unsigned char *moved = soak_realloc(block->p, size);
    if (moved == NULL || moved[0] != first)
        fail("realloc lost a block");
    self->bytes += size - block->size;
    *block = (struct block){moved, size};
    mark(block);
}

/* To whoever comes by; what lay there becomes ours. Descriptions of blocks are not the allocator's under test. */
static struct block parcels[MAILBOXES * 2];
static struct block *spare_parcel[WORKERS];

static void block_hand_over(struct worker *self, struct block *block)
{
    struct block *parcel = spare_parcel[self->number];
    *parcel = *block;
    self->bytes -= block->size;
    block->p = NULL;
    parcel = __atomic_exchange_n(&mailbox[next_random(&self->seed) % MAILBOXES], parcel, __ATOMIC_ACQ_REL);
    if (parcel->p != NULL) {
        *block = *parcel;
        self->bytes += block->size;
        parcel->p = NULL;
    }
    spare_parcel[self->number] = parcel;
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

static bool stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void worker_step(struct worker *self, uint64_t step)
{
    uint64_t choice = next_random(&self->seed);
    /* An eighth of the slots is visited rarely: these blocks live long. */
    size_t slots = choice % 1024 == 0 ? SLOTS : SLOTS - SLOTS / 8;
    struct block *block = &self->slot[(choice >> 32) % slots];
    if (block->p == NULL) {
        if (self->bytes < LIVE_BYTES)
            block_take(self, block, step);
        return;
    }
    check_mark(block);
    unsigned what = choice >> 16 & 31;
    if (what < 3)
        block_resize(self, block, step);
    else if (what < 6)
        block_hand_over(self, block);
    else
        block_drop(self, block);
}

static void fork_once(void)
{
    int status = -1;
    pid_t child = soak_fork();
    if (child == 0) {
        struct block own = {.p = NULL};
        struct worker self = {.seed = 77};
        alarm(60);
        for (uint64_t i = 0; i < 2000; i++) {
            block_take(&self, &own, i);
            block_drop(&self, &own);
        }
        _exit(soak_verify() == 0 ? 0 : 1);
    }
    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0))
        fail("a child failed");
    __atomic_fetch_add(&forks, 1, __ATOMIC_RELAXED);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The same number of steps a second, busy machine or not. */
static void pace(double *due)
{
    double wait = (*due += REST_US / 1e6) - now();
    if (wait > 0)
        usleep((useconds_t)(wait * 1e6));
    else
        *due -= wait; /* late: no hurry afterwards */
}

static void *live_once(void *arg)
{
    struct worker *self = arg;
    double due = now();
    uint64_t life = LIFE_STEPS / 2 + next_random(&self->seed) % LIFE_STEPS;
    for (uint64_t step = 0; step < life && !stopped(); step++) {
        worker_step(self, step);
        if (step % REST_STEPS == 0) {
            __atomic_fetch_add(&operations, REST_STEPS, __ATOMIC_RELAXED);
            pace(&due);
        }
        if (next_random(&self->seed) % 20000000 == 0)
            fork_once();
    }
    soak_thread_exit();
    return NULL;
}

static void *live_again(void *arg)
{
    while (!stopped()) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live_once, arg) != 0)
            fail("no thread");
        pthread_join(thread, NULL);
        __atomic_fetch_add(&lives, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* --- watching --------------------------------------------------------------------------------------------------- */

static double sample_at[SAMPLES_MAX], sample_kb[SAMPLES_MAX];
static unsigned sample_count;

static double resident_kb(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &pages, &resident) != 2)
        fail("no /proc");
    fclose(file);
    return (double)resident * 4;
}

static void sample_take(double seconds)
{
    double resident = resident_kb(), live = (double)soak_live_bytes() / 1048576;
    if (sample_count == SAMPLES_MAX)
        return;
    sample_at[sample_count] = seconds / 60;
    sample_kb[sample_count++] = resident;
    printf("%6.0f s  live %7.2f MiB  resident %7.2f MiB  %12llu operations  %4llu threads  %3llu forks\n",
           seconds, live, resident / 1024, (unsigned long long)__atomic_load_n(&operations, __ATOMIC_RELAXED),
           (unsigned long long)__atomic_load_n(&lives, __ATOMIC_RELAXED),
           (unsigned long long)__atomic_load_n(&forks, __ATOMIC_RELAXED));
    fflush(stdout);
}

/* Least squares over the last two thirds: the start fills up. *ret_error is the slope's standard error. */
static double slope(double *ret_error)
{
    unsigned from = sample_count / 3, n = sample_count - from;
    double t = 0, m = 0, tt = 0, tm = 0, left = 0;
    for (unsigned i = from; i < sample_count; i++) {
        t += sample_at[i] / n;
        m += sample_kb[i] / n;
    }
    for (unsigned i = from; i < sample_count; i++) {
        tt += (sample_at[i] - t) * (sample_at[i] - t);
        tm += (sample_at[i] - t) * (sample_kb[i] - m);
    }
    double steep = tt > 0 ? tm / tt : 0;
    for (unsigned i = from; i < sample_count; i++) {
        double off = sample_kb[i] - m - steep * (sample_at[i] - t);
        left += off * off;
    }
    *ret_error = n > 2 && tt > 0 ? sqrt(left / (n - 2) / tt) : INFINITY;
    return steep;
}

static void watch(double seconds)
{
    double start = now();
    for (double next = SAMPLE_SECONDS; next <= seconds; next += SAMPLE_SECONDS) {
        double wait = start + next - now();
        if (wait > 0)
            usleep((useconds_t)(wait * 1e6));
        sample_take(now() - start);
    }
}

static void empty_all(void)
{
    for (unsigned i = 0; i < WORKERS; i++)
        for (unsigned slot = 0; slot < SLOTS; slot++)
            if (worker[i].slot[slot].p != NULL)
                block_drop(&worker[i], &worker[i].slot[slot]);
    for (unsigned i = 0; i < MAILBOXES; i++) {
        if (mailbox[i]->p == NULL)
            continue;
        check_mark(mailbox[i]);
        soak_free(mailbox[i]->p);
    }
}

int main(int argc, char **argv)
{
    double minutes = argc > 1 ? strtod(argv[1], NULL) : 30, error;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    pthread_t thread[WORKERS];
    for (unsigned i = 0; i < MAILBOXES; i++)
        mailbox[i] = &parcels[i];
    printf("soak: %g minutes, seed %llu, %s\n", minutes, (unsigned long long)seed, soak_name);
    for (unsigned i = 0; i < WORKERS; i++) {
        worker[i].number = i;
        worker[i].seed = (seed * WORKERS + i + 1) * 0x9e3779b97f4a7c15u;
        spare_parcel[i] = &parcels[MAILBOXES + i];
        pthread_create(&thread[i], NULL, live_again, &worker[i]);
    }
    watch(minutes * 60);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(thread[i], NULL);
    size_t breaches = soak_verify();
    empty_all();
    breaches += soak_verify();
    double steep = slope(&error);
    bool flat = fabs(steep) <= SLOPE_MOST || fabs(steep) <= 3 * error;
    printf("soak: verify: %zu breaches; resident memory: %+.1f KiB a minute, standard error %.1f: %s\n",
           breaches, steep, error,
           sample_count < 9 ? "too short to tell"
           : flat           ? "flat"
                            : "NOT flat");
    return breaches == 0 && flat ? 0 : 1;
}
