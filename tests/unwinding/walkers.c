/* SPDX-License-Identifier: MIT */
/*
 * walkers.c - a program that walks its own stacks with libunwind, in all the ways there are, while it is recorded.
 *
 *   walkers MILLISECONDS SEED alone|together
 *
 *   stepper      unw_step from depths it knows, with an empty cache in between                      local
 *   backtracer   unw_backtrace likewise                                                             local
 *   remote       unw_step by its own accessors, of libunwind-x86_64, which the recorder loads, too  remote
 *   allocators   three: allocate at known depths and free; and are interrupted all the time by a signal whose handler
 *                walks and allocates                                                                local
 *
 * `alone`: of these, only the stepper walks locally, and changes the caching policy while it does. `together`: it does not.
 * libunwind hangs by itself when it is changed while another thread walks: a lock taken under one policy is not released
 * under another.
 *
 *   allocated NAME BLOCKS FREED      what an allocating function has done
 *   walked NAME TIMES                what a walker has done; every walk was right, or the program ends with 1
 */
#define UNW_LOCAL_ONLY
#include "walkers.h"

#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALLOCATORS 3u
#define KEPT       128u
#define DEEPEST    40u
#define BARRIER()  __asm__ volatile("" : : : "memory")

static bool stop;        /* atomic */
static bool alone;       /* constant */
static bool recorded;    /* constant: by a library whose malloc may be interrupted */
static unsigned running; /* allocators that are in their own functions. Atomic */
static uint64_t seed;
static struct range descend_range, stepper_range, backtracer_range, remote_range, allocator_range;

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545f4914f6cdd1du >> 32);
}

static bool is_over(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

_Noreturn static void give_up(const char *what, const struct met *met)
{
    fprintf(stderr, "walkers: %s: %u frames, %u of them looked for, %s its thread's\n", what,
            met ? met->frames : 0, met ? met->inside : 0, met && met->root ? "among them" : "without");
    _exit(1);
}

/* What libunwind's own symbol look-up would say, once: the ranges are compared from then on. */
static struct range range_of(uintptr_t function)
{
    unw_cursor_t cursor;
    unw_context_t context;
    unw_proc_info_t info;

    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    unw_set_reg(&cursor, UNW_REG_IP, function + 1);
    if (unw_get_proc_info(&cursor, &info) < 0 || info.start_ip != function)
        give_up("a function without bounds", NULL);
    return (struct range){info.start_ip, info.end_ip};
}

static void note(struct met *met, uintptr_t ip, struct range wanted, struct range root)
{
    met->frames++;
    met->inside += ip - wanted.low < wanted.high - wanted.low;
    met->root |= ip - root.low < root.high - root.low;
}

/* --- walks --------------------------------------------------------------------------------------------------- */

OWN struct met local_walk(struct range wanted, struct range root)
{
    struct met met = {0};
    unw_cursor_t cursor;
    unw_context_t context;
    unw_word_t ip;

    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    do {
        unw_get_reg(&cursor, UNW_REG_IP, &ip);
        note(&met, ip, wanted, root);
    } while (unw_step(&cursor) > 0);
    return met;
}

OWN struct met fast_walk(struct range wanted, struct range root)
{
    struct met met = {0};
    void *frames[DEEPEST + 32];
    int count = unw_backtrace(frames, DEEPEST + 32);

    for (int i = 0; i < count; i++)
        note(&met, (uintptr_t)frames[i], wanted, root);
    return met;
}

typedef struct met walk_function(struct range, struct range);

/* Allocates on its way, so that its stacks are recorded, too. */
OWN struct met descend(unsigned depth, walk_function *walk, struct range root)
{
    void *p = malloc(24 + depth);
    __asm__ volatile("" : "+r"(p) : : "memory"); /* or it is never allocated */
    struct met met = depth > 0 ? descend(depth - 1, walk, root) : walk(descend_range, root);
    free(p);
    return met;
}

static void walk_once(uint64_t *state, walk_function *walk, struct range root, const char *name)
{
    unsigned depth = next_random(state) % DEEPEST;
    struct met met = descend(depth, walk, root);

    if (met.inside != depth + 1 || !met.root)
        give_up(name, &met);
}

/* --- walking threads ----------------------------------------------------------------------------------------- */

static uint64_t steppers_walks, backtracers_walks, remote_walks,
    handlers_walks; /* the first three: one thread's */

OWN void *stepper(void *unused)
{
    static const unw_caching_policy_t policies[] = {UNW_CACHE_NONE, UNW_CACHE_GLOBAL, UNW_CACHE_PER_THREAD};
    uint64_t state = seed * 977 + 1;

    for (; !is_over(); steppers_walks++) {
        if (alone && steppers_walks % 7 == 0 &&
            unw_set_caching_policy(unw_local_addr_space, policies[steppers_walks / 7 % 3]) != 0)
            give_up("another caching policy", NULL);
        if (steppers_walks % 5 == 0)
            unw_flush_cache(unw_local_addr_space, 0, 0);
        walk_once(&state, local_walk, stepper_range, "stepper");
    }
    return unused;
}

OWN void *backtracer(void *unused)
{
    uint64_t state = seed * 977 + 2;

    for (; !alone && !is_over(); backtracers_walks++)
        walk_once(&state, fast_walk, backtracer_range, "backtracer");
    return unused;
}

OWN void *remote(void *unused)
{
    uint64_t state = seed * 977 + 3;

    for (; !is_over(); remote_walks++) {
        if (!remote_disturb((unsigned)remote_walks))
            give_up("another address space", NULL);
        walk_once(&state, remote_walk, remote_range, "remote");
    }
    return unused;
}

/* --- allocating threads -------------------------------------------------------------------------------------- */

/* Of one place; its thread's. */
struct count {
    uint64_t allocated, freed;
};

/* At any instant, or at the end of the call into the library that it came in, which may put it off. It allocates, too,
 * although in most programs it may not: the library allows it. */
OWN void on_signal(int number)
{
    void *p = recorded ? malloc(77) : NULL;
    __asm__ volatile("" : "+r"(p) : : "memory");
    free(p);
    struct met met = local_walk(descend_range, allocator_range);

    (void)number;
    if (!met.root)
        give_up("in a signal handler", &met);
    __atomic_add_fetch(&handlers_walks, 1, __ATOMIC_RELAXED);
}

#define PLACE(n)                                                                                             \
    OWN void *place_##n(size_t size)                                                                         \
    {                                                                                                        \
        void *p = malloc(size);                                                                              \
        BARRIER();                                                                                           \
        return p;                                                                                            \
    }
PLACE(0)
PLACE(1)
PLACE(2)

static void *(*const places[ALLOCATORS])(size_t) = {place_0, place_1, place_2};
static struct count counts[ALLOCATORS];

OWN void *deeper(unsigned depth, unsigned place, size_t size)
{
    void *p = depth > 0 ? deeper(depth - 1, place, size) : places[place](size);
    BARRIER();
    return p;
}

OWN void *allocator(void *arg)
{
    unsigned place = (unsigned)(uintptr_t)arg;
    uint64_t state = seed * 977 + 10 + place;
    void *kept[KEPT] = {0};

    __atomic_add_fetch(&running, 1, __ATOMIC_RELEASE);
    while (!is_over()) {
        void **at = &kept[next_random(&state) % KEPT];
        if (*at) {
            free(*at);
            *at = NULL;
            counts[place].freed++;
        } else {
            *at = deeper(next_random(&state) % DEEPEST, place, next_random(&state) % 300);
            counts[place].allocated++;
        }
    }
    return NULL;
}

/* --- */

static void look_up_ranges(void)
{
    descend_range = range_of((uintptr_t)descend);
    stepper_range = range_of((uintptr_t)stepper);
    backtracer_range = range_of((uintptr_t)backtracer);
    remote_range = range_of((uintptr_t)remote);
    allocator_range = range_of((uintptr_t)allocator);
}

/* Until the time is up, one allocator after another is interrupted. */
static void disturb(const pthread_t *threads, unsigned milliseconds)
{
    for (unsigned i = 0; i < milliseconds * 2; i++) {
        if (!alone)
            pthread_kill(threads[i % ALLOCATORS], SIGUSR1);
        usleep(500);
    }
}

int main(int count, char **words)
{
    static void *(*const walkers[])(void *) = {stepper, backtracer, remote};
    pthread_t threads[ALLOCATORS + 3];

    if (count != 4 || !remote_start())
        give_up("MILLISECONDS SEED alone|together", NULL);
    alone = strcmp(words[3], "alone") == 0;
    recorded = getenv("LD_PRELOAD") != NULL;
    seed = strtoull(words[2], NULL, 10);
    look_up_ranges();
    signal(SIGUSR1, on_signal);
    for (uintptr_t i = 0; i < ALLOCATORS + 3; i++)
        if (pthread_create(&threads[i], NULL, i < ALLOCATORS ? allocator : walkers[i - ALLOCATORS],
                           (void *)i) != 0)
            give_up("no thread", NULL);
    while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) < ALLOCATORS)
        usleep(1000);
    disturb(threads, (unsigned)atoi(words[1]));
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < ALLOCATORS + 3; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < ALLOCATORS; i++)
        printf("allocated place_%u %lu %lu\n", i, counts[i].allocated, counts[i].freed);
    printf("walked stepper %lu\nwalked backtracer %lu\nwalked remote %lu\nwalked handlers %lu\n",
           steppers_walks, backtracers_walks, remote_walks, handlers_walks);
    return 0;
}
