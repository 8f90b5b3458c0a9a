/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the benchmark's workloads share: a table row each, a random number generator, threads.
 *
 *   bench_main.c     finds the row by name, runs it once
 *   bench_*.c        the workloads, by kind; each file ends with its table
 *   launch.c         starts one run and measures it from outside: nothing here looks at a clock or at memory
 *
 * A workload does a fixed amount of work from fixed seeds, so that two runs under two allocators make the same requests
 * in the same order (those with threads: each thread does). What is allocated is touched as a program would touch it,
 * and what was written is looked at again before it is freed: an allocator that hands out a block twice does not finish.
 */
#ifndef BENCH_H
#define BENCH_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct workload {
    const char *name;
    void (*run)(const struct workload *w);
    unsigned threads;
    unsigned steps; /* how much; what one step is, each workload says for itself */
    size_t low, high;
    const char *what;
};

/* Tables end with a row without a name. */
extern const struct workload random_workloads[], thread_workloads[], share_workloads[], tree_workloads[],
    shape_workloads[], large_workloads[], call_workloads[];

/* A Weyl sequence through a mixing function (Vigna's splitmix64): any seed is a good one. */
struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 .. below - 1 */
static inline uint32_t random_below(struct random *r, uint32_t below)
{
    return (uint32_t)(((random_next(r) >> 32) * below) >> 32);
}

static inline size_t random_between(struct random *r, size_t low, size_t high)
{
    return low + random_below(r, (uint32_t)(high - low + 1));
}

/* Each doubling from low on is as likely as the others; high is low times a power of two. */
static inline size_t random_log(struct random *r, size_t low, size_t high)
{
    uint32_t doublings = (uint32_t)__builtin_ctzl(high / low);
    size_t base = low << random_below(r, doublings);

    return random_between(r, base, base * 2);
}

/* What small programs ask for: nine of ten at most 256 bytes, one of a hundred up to 20 KiB. */
static inline size_t random_usual(struct random *r)
{
    uint32_t kind = random_below(r, 100);

    if (kind < 90)
        return random_between(r, 8, 256);
    return kind < 99 ? random_between(r, 257, 2048) : random_between(r, 2049, 20480);
}

/* The allocator has done something that no allocator may. */
_Noreturn static inline void broken(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(4);
}

static inline void *checked(void *p)
{
    if (!p)
        broken("out of memory");
    return p;
}

/* The first and the last byte of a block carry a mark of its size. */
static inline void mark_block(void *p, size_t size)
{
    unsigned char *bytes = p;

    bytes[0] = (unsigned char)size;
    bytes[size - 1] = (unsigned char)size;
}

static inline void *marked_malloc(size_t size)
{
    void *p = checked(malloc(size));

    mark_block(p, size);
    return p;
}

static inline void check_mark(const void *p, size_t size)
{
    const unsigned char *bytes = p;

    if (bytes[0] != (unsigned char)size || bytes[size - 1] != (unsigned char)size)
        broken("a block has changed before it was freed");
}

static inline void marked_free(void *p, size_t size)
{
    check_mark(p, size);
    free(p);
}

/* Runs body(tasks + i * stride) on `threads` threads and waits for all; with one thread, on the caller's own. */
void run_threads(unsigned threads, void *(*body)(void *), void *tasks, size_t stride);

#endif
