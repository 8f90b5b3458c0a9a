/* SPDX-License-Identifier: MIT */
/*
 * storm.c - threads open and close plugins while others allocate, in part through the plugins that are open. What it has done
 * it counts itself, and prints at its end, a line a function that allocates:
 *
 *   storm DIRECTORY PLUGINS MILLISECONDS SEED
 *
 *   openers    dlopen, make some blocks, put it into a slot, ..., take it out again, dlclose     one slot each
 *   others     make and free blocks, here or by what is in a slot, with the slot locked for reading
 *
 *   allocated NAME BLOCKS FREED LOST      lost: of those not freed, what nothing points to any more
 *   opened TIMES MOVED                    moved: as often a plugin lay where another one had been
 *
 * Blocks stay in one table, also those whose plugin was closed since. An opener's and a closer's plugins begin and end while
 * others run: nobody may take their addresses for those of the plugin before.
 */
#include "storm.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OPENERS     4u
#define OTHERS      4u
#define PLUGINS_MAX 16u
#define KEPT        2048u
#define PLACES      4096u
#define OWN         static __attribute__((noipa))
#define BARRIER(p)  __asm__ volatile("" : "+r"(p) : : "memory")

/* Of one function. Atomic additions; read when all threads have ended. */
struct count {
    uint64_t allocated, freed, lost;
};

struct block {
    void *p;
    struct count *of;
};

struct slot {
    pthread_rwlock_t lock;
    void *(*make)(unsigned, size_t); /* NULL: nothing is open here. Under lock */
    void (*drop)(void *);
    unsigned number;
};

/* Who was last at an address; the first pages of plugins only. */
struct place {
    uintptr_t at;
    unsigned number;
};

static struct count plugin_counts[PLUGINS_MAX][KINDS], here_count;
static struct block kept[KEPT];
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot slots[OPENERS];
static struct place places[PLACES];
static pthread_mutex_t places_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t opened, moved;
static const char *directory;
static unsigned plugins;
static uint64_t seed;
static bool stop; /* atomic */

static void add(uint64_t *count)
{
    __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
}

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545f4914f6cdd1du >> 32);
}

_Noreturn static void give_up(const char *what)
{
    fprintf(stderr, "storm: %s\n", what);
    _exit(2);
}

/* --- blocks -------------------------------------------------------------------------------------------------- */

OWN struct block exchange(struct block block, unsigned at)
{
    pthread_mutex_lock(&kept_lock);
    struct block taken = kept[at % KEPT];
    kept[at % KEPT] = block;
    pthread_mutex_unlock(&kept_lock);
    return taken;
}

OWN void release(struct block block, void (*drop)(void *))
{
    if (!block.p)
        return;
    add(&block.of->freed);
    drop(block.p);
}

/* One in 64 is forgotten: a leak whose function may be gone by the time that somebody asks. */
OWN void keep(struct count *of, void *p, uint32_t random, void (*drop)(void *))
{
    add(&of->allocated);
    if (random % 64 == 0)
        add(&of->lost);
    else
        release(exchange((struct block){p, of}, random / 64), drop);
}

void storm_keep(unsigned number, enum kind kind, void *p)
{
    static uint64_t turn;
    uint64_t state = __atomic_add_fetch(&turn, 1, __ATOMIC_RELAXED) * 0x9e3779b97f4a7c15u | 1u;

    keep(&plugin_counts[number][kind], p, next_random(&state), free);
}

OWN void *here_leaf(size_t size)
{
    void *p = malloc(size);
    BARRIER(p);
    return p;
}

OWN void *here_outer(unsigned depth, size_t size)
{
    void *p = depth > 0 ? here_outer(depth - 1, size) : here_leaf(size);
    BARRIER(p);
    return p;
}

/* By the plugin. The pointer is not left in a frame of a function that goes on. */
OWN void make_by(const struct slot *slot, uint64_t *state)
{
    void *p = slot->make(next_random(state) % 12, 16 + next_random(state) % 200);

    keep(&plugin_counts[slot->number][KIND_LEAF], p, next_random(state), slot->drop);
}

OWN void make_here(uint64_t *state)
{
    void *p = here_outer(next_random(state) % 12, 16 + next_random(state) % 200);

    keep(&here_count, p, next_random(state), free);
}

/* --- threads ------------------------------------------------------------------------------------------------- */

static void note_place(uintptr_t at, unsigned number)
{
    pthread_mutex_lock(&places_lock);
    opened++;
    for (uintptr_t i = at >> 12;; i++) {
        struct place *place = &places[i % PLACES];
        if (place->at != at && place->at != 0)
            continue;
        moved += place->at == at && place->number != number;
        *place = (struct place){at, number};
        break;
    }
    pthread_mutex_unlock(&places_lock);
}

OWN void *open_one(struct slot *open, unsigned number)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/plugin_%u.so", directory, number);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        give_up(dlerror());
    open->make = (void *(*)(unsigned, size_t))dlsym(handle, "plugin_make");
    open->drop = (void (*)(void *))dlsym(handle, "plugin_drop");
    open->number = number;
    if (!open->make || !open->drop)
        give_up("a plugin without functions");
    return handle;
}

static void put(struct slot *slot, const struct slot *what)
{
    pthread_rwlock_wrlock(&slot->lock);
    slot->make = what->make;
    slot->drop = what->drop;
    slot->number = what->number;
    pthread_rwlock_unlock(&slot->lock);
}

OWN void *run_opener(void *arg)
{
    struct slot *slot = arg, nothing = {.make = NULL};
    uint64_t state = seed * 977 + (uint64_t)(slot - slots) + 1;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct slot open;
        void *handle = open_one(&open, next_random(&state) % plugins);
        /* At once: what was known of these addresses is of the plugin before. */
        make_by(&open, &state);
        note_place((uintptr_t)open.make & ~(uintptr_t)4095, open.number);
        make_by(&open, &state);
        put(slot, &open);
        if (next_random(&state) % 4 == 0)
            usleep(next_random(&state) % 300);
        put(slot, &nothing);
        for (unsigned n = next_random(&state) % 4; n > 0; n--)
            make_by(&open, &state);
        if (dlclose(handle) != 0)
            give_up("dlclose failed");
    }
    return NULL;
}

OWN void *run_other(void *arg)
{
    uint64_t state = seed * 977 + 100 + (uintptr_t)arg;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct slot *slot = &slots[next_random(&state) % OPENERS];
        make_here(&state);
        pthread_rwlock_rdlock(&slot->lock);
        for (unsigned n = next_random(&state) % 4; n > 0 && slot->make; n--)
            make_by(slot, &state);
        pthread_rwlock_unlock(&slot->lock);
    }
    return NULL;
}

/* --- */

static void start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    if (pthread_create(thread, NULL, run, arg) != 0)
        give_up("no thread");
}

OWN void run_all(unsigned milliseconds)
{
    pthread_t threads[OPENERS + OTHERS];

    for (uintptr_t i = 0; i < OPENERS; i++) {
        pthread_rwlock_init(&slots[i].lock, NULL);
        start(&threads[i], run_opener, &slots[i]);
    }
    for (uintptr_t i = 0; i < OTHERS; i++)
        start(&threads[OPENERS + i], run_other, (void *)i);
    usleep(milliseconds * 1000);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < OPENERS + OTHERS; i++)
        pthread_join(threads[i], NULL);
}

static void print_count(const char *name, const struct count *count)
{
    printf("allocated %s %lu %lu %lu\n", name, count->allocated, count->freed, count->lost);
}

int main(int count, char **words)
{
    static const char *const kinds[KINDS] = {"leaf", "first", "last"};
    char name[32];

    if (count != 5 || (plugins = (unsigned)atoi(words[2])) == 0 || plugins > PLUGINS_MAX)
        give_up("DIRECTORY PLUGINS MILLISECONDS SEED");
    directory = words[1];
    seed = strtoull(words[4], NULL, 10);
    run_all((unsigned)atoi(words[3]));
    print_count("here_leaf", &here_count);
    for (unsigned i = 0; i < plugins; i++) {
        for (unsigned k = 0; k < KINDS; k++) {
            snprintf(name, sizeof(name), "p%u_%s", i, kinds[k]);
            print_count(name, &plugin_counts[i][k]);
        }
    }
    printf("opened %lu %lu\n", opened, moved);
    return 0;
}
