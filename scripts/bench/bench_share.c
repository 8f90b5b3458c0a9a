/* SPDX-License-Identifier: MIT */
/*
 * bench_share.c - do blocks of different threads share cache lines? After cache-thrash and cache-scratch of E. Berger et al.,
 * "Hoard: a scalable memory allocator for multithreaded applications", ASPLOS 2000.
 *
 *   thrash    each thread allocates a small block, writes it often, frees it: neighbours handed out at once (active false
 *             sharing)
 *   scratch   first each thread frees a block that lies beside those of the others and gets back what the allocator makes
 *             of it (passive false sharing)
 */
#include "bench.h"

#define BLOCK  8u
#define WRITES 150u

struct task {
    const struct workload *w;
    void *given;
};

static void *write_own(void *arg)
{
    const struct task *task = arg;

    free(task->given);
    for (unsigned i = 0; i < task->w->steps / task->w->threads; i++) {
        volatile char *block = checked(malloc(BLOCK));

        for (unsigned k = 0; k < WRITES; k++)
            block[k % BLOCK]++;
        free((void *)(uintptr_t)block);
    }
    return NULL;
}

static void run(const struct workload *w, int give)
{
    struct task tasks[8];

    for (unsigned i = 0; i < w->threads; i++)
        tasks[i] = (struct task){w, give ? checked(malloc(BLOCK)) : NULL};
    run_threads(w->threads, write_own, tasks, sizeof(tasks[0]));
}

static void thrash(const struct workload *w)
{
    run(w, 0);
}

static void scratch(const struct workload *w)
{
    run(w, 1);
}

const struct workload share_workloads[] = {
    {"cache-thrash-2", thrash, 2, 1600000, 0, 0, "2 threads write blocks of 8 bytes (after cache-thrash)"},
    {"cache-scratch-2", scratch, 2, 1600000, 0, 0,
     "the same, neighbours handed over first (after cache-scratch)"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
