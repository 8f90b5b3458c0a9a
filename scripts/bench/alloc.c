/* SPDX-License-Identifier: MIT */
/*
 * alloc.c - three small loads for a malloc, each printing nanoseconds of thread CPU time for one malloc and free.
 *
 *   pairs    malloc and free of 32 bytes, at once
 *   mixed    100,000 places; a random one is freed and allocated again, of a size mostly small, sometimes up to 20 KiB
 *   handed   one thread allocates, another frees; both threads' time counts
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAIRS  20000000u
#define MIXED  5000000u
#define PLACES 100000u
#define HANDED 4000000u
#define RING   4096u

static uint64_t state = 88172645463325252u;

static uint32_t next_number(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20);
}

static double cpu_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void pairs(void)
{
    for (uint32_t i = 0; i < PAIRS; i++) {
        void *p = malloc(32);

        __asm__ volatile("" : "+r"(p) : : "memory");
        free(p);
    }
}

static size_t some_size(void)
{
    uint32_t r = next_number();

    if (r % 100 < 90)
        return 8 + r / 128 % 256;
    return r % 100 < 99 ? 256 + r / 128 % 2048 : 2048 + r / 128 % 18432;
}

static void mixed(void)
{
    void **places = calloc(PLACES, sizeof(*places));

    for (uint32_t i = 0; i < MIXED; i++) {
        void **place = &places[next_number() % PLACES];

        free(*place);
        *place = malloc(some_size());
        *(char *)*place = 1;
    }
    for (uint32_t i = 0; i < PLACES; i++)
        free(places[i]);
    free(places);
}

/* Written by the maker, emptied by the breaker: a slot is one's or the other's by whether it is NULL. */
static void *_Atomic ring[RING];

static void *breaker(void *arg)
{
    for (uint32_t i = 0; i < HANDED; i++) {
        void *p;

        while (!(p = atomic_exchange_explicit(&ring[i % RING], NULL, memory_order_acquire)))
            ;
        free(p);
    }
    return arg;
}

static void handed(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, breaker, NULL);
    for (uint32_t i = 0; i < HANDED; i++) {
        void *p = malloc(64);

        while (atomic_load_explicit(&ring[i % RING], memory_order_relaxed))
            ;
        atomic_store_explicit(&ring[i % RING], p, memory_order_release);
    }
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    const char *load = argc > 1 ? argv[1] : "";
    void (*run)(void) = strcmp(load, "pairs") == 0 ? pairs : strcmp(load, "mixed") == 0 ? mixed : handed;
    double count = run == pairs ? PAIRS : run == mixed ? MIXED : HANDED;
    double began = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);

    run();
    printf("%.2f\n", (cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - began) / count);
    return 0;
}
