/* SPDX-License-Identifier: MIT */
/*
 * stacks.c - what recording adds to a pair of malloc and free, by how many stacks a program allocates from.
 *
 *   stacks SITES [THREADS [PAIRS [HOW]]]   prints nanoseconds a pair: all threads' time together over all threads' pairs
 *
 * Each pair is made 20 frames below its thread's start. With one site the pair is in a loop there; with more, each pair
 * goes down anew, to the stack of a random number below SITES. HOW says where two such stacks differ:
 *
 *   near    by the two innermost calls of those 20, each from one of as many places as it takes (64 for 4,096): a program whose
 *           parts allocate at many lines
 *   inner   by one of two places in each of the innermost frames, as many as it takes (12 for 4,096): one that recurses
 *   outer   the same from the outermost frame inward (the default): stacks in a row seldom share any but their innermost
 *           frames, which do not help
 *
 * Run it with and without recording: the difference is the recording's, as the calls themselves cost the same. Each
 * thread has been at each site once before time is taken.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEPTH       20u
#define THREADS_MAX 64u
#define BARRIER()   __asm__ volatile("" ::: "memory")

static unsigned long sites = 1, threads = 1, pairs = 2000000;
static enum how { OUTER, INNER, NEAR } how;
static uint32_t places; /* NEAR: in each of the two */
static pthread_barrier_t warm;

static void one_pair(uint32_t site)
{
    (void)site;
    char *volatile p = malloc(64);

    if (p)
        p[0] = 1;
    free(p);
}

static void many_pairs(uint32_t site)
{
    for (unsigned long i = 0; i < pairs; i++)
        one_pair(site);
}

/* What follows the calls differs, here and below, or the compiler makes them one, and all sites. */
static __attribute__((noinline)) int descend(unsigned depth, uint32_t way, void (*leaf)(uint32_t),
                                             uint32_t site)
{
    if (depth == 0) {
        leaf(site);
    } else if (way & 1) {
        (void)descend(depth - 1, way >> 1, leaf, site);
        __asm__ volatile("" : : "i"(1));
    } else {
        (void)descend(depth - 1, way >> 1, leaf, site);
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

/* 290 places to call from, so 84,100 pairs of them. */
/* clang-format off */
#define PLACE(n) case n: CALLED(); __asm__ volatile("" : : "i"(n)); break;
#define TEN(n) PLACE(n##0) PLACE(n##1) PLACE(n##2) PLACE(n##3) PLACE(n##4) \
               PLACE(n##5) PLACE(n##6) PLACE(n##7) PLACE(n##8) PLACE(n##9)
#define ALL_PLACES TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9) TEN(10) TEN(11) TEN(12) TEN(13) TEN(14) \
                   TEN(15) TEN(16) TEN(17) TEN(18) TEN(19) TEN(20) TEN(21) TEN(22) TEN(23) TEN(24) TEN(25) TEN(26) \
                   TEN(27) TEN(28) TEN(29)
/* clang-format on */
#define PLACES_FIRST 10u
#define PLACES_MOST  290u

static __attribute__((noinline)) void nearest(uint32_t place)
{
#define CALLED() one_pair(place)
    switch (place + PLACES_FIRST) {
        ALL_PLACES
    }
#undef CALLED
    BARRIER();
}

static __attribute__((noinline)) void nearer(uint32_t site)
{
#define CALLED() nearest(site % places)
    switch (site / places + PLACES_FIRST) {
        ALL_PLACES
    }
#undef CALLED
    BARRIER();
}

static void go_to(uint32_t site, void (*leaf)(uint32_t))
{
    if (how == NEAR && sites > 1)
        (void)descend(DEPTH - 2, 0, nearer, site);
    else
        (void)descend(DEPTH, how == INNER ? turned(site) : site, leaf, site);
}

static void *run(void *arg)
{
    uint64_t state = 88172645463325252u + (uintptr_t)arg;

    if (sites == 1) {
        pthread_barrier_wait(&warm);
        go_to(0, many_pairs);
        return NULL;
    }
    /* One loop, or the warm-up's stacks would be others. */
    for (unsigned long i = 0; i < sites + pairs; i++) {
        if (i == sites)
            pthread_barrier_wait(&warm);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        go_to((uint32_t)(i < sites ? i : (state >> 32) % sites), one_pair);
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
    const char *word = count > 4 ? words[4] : "outer";
    how = strcmp(word, "near") == 0 ? NEAR : strcmp(word, "inner") == 0 ? INNER : OUTER;
    while ((unsigned long)places * places < sites && places <= PLACES_MOST)
        places++;
    if (sites == 0 || threads == 0 || threads > THREADS_MAX || pairs == 0 ||
        (how == NEAR && places > PLACES_MOST) || (how == OUTER && strcmp(word, "outer") != 0)) {
        fprintf(stderr,
                "stacks: SITES [THREADS [PAIRS [near|inner|outer]]], all above 0, at most %u threads, and %u "
                "sites that are near\n",
                THREADS_MAX, PLACES_MOST * PLACES_MOST);
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
