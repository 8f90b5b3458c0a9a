/* SPDX-License-Identifier: MIT */
/*
 * stacks.c - what recording adds to a pair of malloc and free, by how many stacks a program allocates from.
 *
 *   stacks SITES [THREADS [PAIRS [inner]]]   prints nanoseconds a pair: all threads' time together over all threads' pairs
 *
 * Each pair is made 20 frames below its thread's start. With one site the pair is in a loop there; with more, each pair
 * goes down anew, and at each of the frames calls from one of two places, by a random number below SITES: its lowest bit
 * at the outermost frame, so that two stacks in a row seldom share any but their innermost ones, which do not help; or, `inner`,
 * at the innermost one, so that they share the outer ones. Run it with and without recording: the difference is the
 * recording's, as the calls themselves cost the same. Each thread has been at each site once before time is taken.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DEPTH       20u
#define THREADS_MAX 64u
#define BARRIER()   __asm__ volatile("" ::: "memory")

static unsigned long sites = 1, threads = 1, pairs = 2000000;
static int inner;
static pthread_barrier_t warm;

static void one_pair(void)
{
    char *volatile p = malloc(64);

    if (p)
        p[0] = 1;
    free(p);
}

static void many_pairs(void)
{
    for (unsigned long i = 0; i < pairs; i++)
        one_pair();
}

/* What follows the two calls differs, or the compiler makes them one, and all sites. */
static __attribute__((noinline)) int descend(unsigned depth, uint32_t way, void (*leaf)(void))
{
    if (depth == 0) {
        leaf();
    } else if (way & 1) {
        (void)descend(depth - 1, way >> 1, leaf);
        __asm__ volatile("" : : "i"(1));
    } else {
        (void)descend(depth - 1, way >> 1, leaf);
        __asm__ volatile("" : : "i"(2));
    }
    BARRIER();
    return (int)depth;
}

/* Its DEPTH lowest bits in the other order. */
static uint32_t turned(uint32_t way)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < DEPTH; i++)
        bits |= (way >> i & 1) << (DEPTH - 1 - i);
    return bits;
}

static void go_to(uint32_t site, void (*leaf)(void))
{
    (void)descend(DEPTH, inner ? turned(site) : site, leaf);
}

static void *run(void *arg)
{
    uint64_t state = 88172645463325252u + (uintptr_t)arg;

    for (unsigned long i = 0; i < sites; i++)
        go_to((uint32_t)i, one_pair);
    pthread_barrier_wait(&warm);
    if (sites == 1) {
        go_to(0, many_pairs);
        return NULL;
    }
    for (unsigned long i = 0; i < pairs; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        go_to((uint32_t)((state >> 32) % sites), one_pair);
    }
    return NULL;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int count, char **words)
{
    pthread_t thread[THREADS_MAX];

    sites = count > 1 ? strtoul(words[1], NULL, 10) : sites;
    threads = count > 2 ? strtoul(words[2], NULL, 10) : threads;
    pairs = count > 3 ? strtoul(words[3], NULL, 10) : pairs;
    inner = count > 4;
    if (sites == 0 || threads == 0 || threads > THREADS_MAX || pairs == 0) {
        fprintf(stderr, "stacks: SITES [THREADS [PAIRS [inner]]], all above 0, at most %u threads\n",
                THREADS_MAX);
        return 2;
    }
    if (pthread_barrier_init(&warm, NULL, (unsigned)threads + 1) != 0)
        return 1;
    for (uintptr_t i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, run, (void *)i) != 0)
            return 1;
    pthread_barrier_wait(&warm);
    double began = now();
    for (unsigned long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("%.1f\n", (now() - began) / (double)pairs);
    return 0;
}
