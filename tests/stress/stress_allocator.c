/* SPDX-License-Identifier: MIT */
/*
 * stress_allocator.c - threads, for as long as asked, doing everything the allocator allows at once.
 *
 *   stress_allocator [SECONDS [THREADS [SEED]]]
 *
 * Workers swap blocks of all sizes through one table, so that most are freed by another thread than allocated them,
 * and end and start again; meanwhile one thread reads statistics and purges, and one forks. Every block carries its
 * size and a stamp at both ends, which its freer checks. At the end the heap is verified, and the walker's count of
 * live blocks is compared with the table's. Built with ThreadSanitizer it does not fork.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "allocator/fast.h"
#include "allocator/walk.h"

#define TABLE       512
#define THREADS_MAX 64
#define LIFE_STEPS  20000 /* of one worker thread */
#define STAMP       0x6865617074616c6cu

#if defined(__SANITIZE_THREAD__)
#define CAN_FORK false
#else
#define CAN_FORK true
#endif

static uint64_t *table[TABLE];
static bool stop;
static uint64_t operations, lives, forks;

static void fail(const char *what)
{
    fprintf(stderr, "stress_allocator: %s\n", what);
    abort();
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* --- stamped blocks --------------------------------------------------------------------------------------------- */

static size_t words_of(const uint64_t *block)
{
    return block[0] >> 8;
}

static uint64_t *stamp(uint64_t *block, size_t words)
{
    if (block == NULL)
        return NULL;
    block[0] = (uint64_t)words << 8 | 0x5a;
    block[1] = STAMP ^ (uintptr_t)block;
    if (words > 2)
        block[words - 1] = STAMP ^ words;
    return block;
}

static void check_stamp(const uint64_t *block)
{
    if ((block[0] & 0xff) != 0x5a || block[1] != (STAMP ^ (uintptr_t)block))
        fail("a block's start was overwritten");
    if (words_of(block) > 2 && block[words_of(block) - 1] != (STAMP ^ words_of(block)))
        fail("a block's end was overwritten");
}

static size_t random_words(uint64_t *seed)
{
    uint64_t kind = next_random(seed) % 1000, n = next_random(seed);
    if (kind < 2)
        return n % (6 << 20) / 8 + 2;
    if (kind < 20)
        return n % 300000 / 8 + 2;
    return (kind < 200 ? n % 30000 : n % 600) / 8 + 2;
}

static uint64_t *make(uint64_t *seed)
{
    size_t words = random_words(seed);
    uint64_t how = next_random(seed) % 8;
    uint64_t *block = NULL;
    if (how == 0) {
        block = alloc_malloc_zeroed(words * 8);
        for (size_t i = 0; block != NULL && i < words; i += words / 16 + 1)
            if (block[i] != 0)
                fail("zeroed memory is not");
    } else if (how == 1) {
        block = alloc_malloc_aligned((size_t)16 << next_random(seed) % 12, words * 8);
    } else {
        block = alloc_malloc_fast(words * 8);
        block = block != NULL ? block : alloc_malloc(words * 8);
    }
    return stamp(block, words);
}

static void drop(uint64_t *block)
{
    if (block == NULL)
        return;
    check_stamp(block);
    if (!alloc_free_fast(block) && alloc_free(block) != ALLOC_OK)
        fail("a good free was refused");
}

static uint64_t *change(uint64_t *block, uint64_t *seed)
{
    size_t words = random_words(seed), old = words_of(block);
    void *moved;
    check_stamp(block);
    uint64_t first = block[0];
    if (alloc_realloc(block, words * 8, &moved) != ALLOC_OK)
        fail("a good realloc was refused");
    if (moved == NULL)
        return block;
    if (*(uint64_t *)moved != first ||
        (words > 2 && old <= words && old > 2 && ((uint64_t *)moved)[old - 1] != (STAMP ^ old)))
        fail("realloc lost content");
    return stamp(moved, words);
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

static bool stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void *live_once(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    int step;
    for (step = 0; step < LIFE_STEPS && !stopped(); step++) {
        uint64_t **place = &table[next_random(&seed) % TABLE];
        uint64_t *block = next_random(&seed) % 4 == 0 ? NULL : make(&seed);
        block = __atomic_exchange_n(place, block, __ATOMIC_ACQ_REL);
        if (block != NULL && next_random(&seed) % 4 == 0)
            block = change(block, &seed);
        drop(block);
    }
    __atomic_fetch_add(&operations, (uint64_t)step, __ATOMIC_RELAXED);
    __atomic_fetch_add(&lives, 1, __ATOMIC_RELAXED);
    if (next_random(&seed) % 8 != 0)
        alloc_thread_exit();
    return NULL;
}

static void *live_again(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    while (!stopped()) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live_once, (void *)(uintptr_t)(next_random(&seed) | 1)) != 0)
            fail("no thread");
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void *look_and_purge(void *arg)
{
    struct timespec pause = {0, 3000000};
    struct alloc_stats stats;
    for (int i = 0; !stopped(); i++) {
        alloc_stats_read(&stats);
        if (stats.mapped != stats.live_capacity + stats.free_in_pools + stats.cached + stats.purged +
                                stats.chunks * (HEAD_SLOTS << SLOT_SHIFT))
            fail("the statistics do not add up");
        if (i % 8 == 0)
            (void)alloc_purge();
        alloc_set_decay(i % 16 == 0 ? 0 : i % 5);
        nanosleep(&pause, NULL);
    }
    return arg;
}

static void complain(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "stress_allocator: %s\n", line);
}

static void live_as_child(void)
{
    uint64_t seed = 99;
    alarm(30);
    for (int i = 0; i < TABLE; i++)
        drop(table[i]);
    for (int i = 0; i < 2000; i++)
        drop(make(&seed));
    if (alloc_verify(complain, NULL) != 0)
        fail("the child's heap is unsound");
    _exit(0);
}

/* A block may be changing hands at the moment of the fork, so the child frees only what it finds in the table. */
static void *fork_on_and_on(void *arg)
{
    struct timespec pause = {0, 20000000};
    while (!stopped()) {
        int status = -1;
        alloc_fork_prepare();
        pid_t child = fork();
        if (child == 0) {
            alloc_fork_child();
            live_as_child();
        }
        alloc_fork_parent();
        if (child > 0 && (waitpid(child, &status, 0) != child || status != 0))
            fail("a child failed");
        forks++;
        nanosleep(&pause, NULL);
    }
    return arg;
}

/* --- the end ---------------------------------------------------------------------------------------------------- */

static bool read_self(void *ctx, uint64_t addr, void *buf, size_t len)
{
    (void)ctx;
    memcpy(buf, (const void *)(uintptr_t)addr, len);
    return true;
}

static bool count(void *ctx, const struct walk_block *block)
{
    (void)block;
    ++*(uint64_t *)ctx;
    return true;
}

static void settle(void)
{
    uint64_t walked = 0, held = 0;
    struct walk_source self = {read_self, NULL};
    struct walk_visitor visitor = {.block = count, .complain = complain, .ctx = &walked};
    for (int i = 0; i < TABLE; i++)
        held += table[i] != NULL;
    if (alloc_verify(complain, NULL) != 0)
        fail("the heap is unsound");
    if (walk_allocator(&self, (uintptr_t)alloc_root(), &visitor) != WALK_OK || walked != held)
        fail("the walker sees other blocks than there are");
    for (int i = 0; i < TABLE; i++)
        drop(table[i]);
    if (alloc_verify(complain, NULL) != 0)
        fail("the emptied heap is unsound");
}

static unsigned long argument(int argc, char **argv, int index, unsigned long otherwise)
{
    return argc > index ? strtoul(argv[index], NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
    unsigned seconds = (unsigned)argument(argc, argv, 1, 5);
    unsigned long threads = argument(argc, argv, 2, 4), seed = argument(argc, argv, 3, 1);
    pthread_t worker[THREADS_MAX], watcher, forker;
    threads = threads > THREADS_MAX ? THREADS_MAX : threads;
    for (unsigned long i = 0; i < threads; i++)
        pthread_create(&worker[i], NULL, live_again, (void *)(seed * 1000003 + i * 7 + 1));
    pthread_create(&watcher, NULL, look_and_purge, NULL);
    if (CAN_FORK)
        pthread_create(&forker, NULL, fork_on_and_on, NULL);
    sleep(seconds);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (unsigned long i = 0; i < threads; i++)
        pthread_join(worker[i], NULL);
    pthread_join(watcher, NULL);
    if (CAN_FORK)
        pthread_join(forker, NULL);
    settle();
    printf("stress_allocator: seed %lu, %llu operations in %llu threads, %llu forks: sound\n", seed,
           (unsigned long long)operations, (unsigned long long)lives, (unsigned long long)forks);
    return 0;
}
