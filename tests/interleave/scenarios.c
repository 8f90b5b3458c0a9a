/* SPDX-License-Identifier: MIT */
/*
 * scenarios.c - small programs of two or three threads, each in every order (scheduler.h): full and back, pending,
 * exit, adoption, reuse of heaps, mappings that move, fork.
 *
 *   interleave [--long] [--limit=N] [NAME]
 *
 * Blocks are of the largest class, four to a pool, so that a pool is full, or empty, after few steps. A thread notes
 * what it holds; at the end every block must be accounted for once: verify is clean, nobody was given what another
 * has, the count of live blocks is the count of notes, and when all is freed and all threads have ended no pool is left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocator/address_map.h"
#include "allocator/fast.h"

#include "tests/interleave/scheduler.h"

#define BLOCK  POOL_SIZE_MAX
#define POOL   4 /* blocks of that size in a pool */
#define HUGE   ((size_t)3 << 20)
#define LARGER ((size_t)6 << 20)
#define HELD   24

/* Who holds what; each entry has one writer in a schedule. */
static void *held[HELD];
/* Is entry i being taken or dropped? Then a forked child does not know whose the block is. */
static uint32_t in_hands[HELD];

static void take_sized(int i, size_t size)
{
    in_hands[i] = true;
    void *p = alloc_malloc(size);
    expect(p != NULL, "memory is out");
    held[i] = p;
    in_hands[i] = false;
}

static void take(int i)
{
    take_sized(i, BLOCK);
}

static void drop(int i)
{
    void *p = held[i];
    in_hands[i] = true;
    held[i] = NULL;
    if (!alloc_free_fast(p))
        expect(alloc_free(p) == ALLOC_OK, "a good free was refused");
    in_hands[i] = false;
}

static void take_many(int from, int to)
{
    for (int i = from; i < to; i++)
        take(i);
}

/* Thread 0 has a pool of four blocks out (0..3), and it is on `full`; and one block of a second pool (4). */
static void setup_full(void)
{
    take_many(0, POOL + 1);
    expect((chunk_descriptor((uintptr_t)held[0])->owner & POOL_UNLISTED) != 0,
           "the set-up's pool is not full");
}

static void drop_0(void)
{
    drop(0);
}

static void drop_1(void)
{
    drop(1);
}

static void drop_0_and_1(void)
{
    drop(0);
    drop(1);
}

static void drop_2_and_3(void)
{
    drop(2);
    drop(3);
}

/* --- afterwards ------------------------------------------------------------------------------------------------- */

static void complain(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "  verify: %s\n", line);
}

static void expect_sound(void)
{
    expect(alloc_verify(complain, NULL) == 0, "verify is not clean");
}

static uint64_t expect_nobody_shares(void)
{
    uint64_t count = 0;
    for (int i = 0; i < HELD; i++) {
        for (int j = 0; j < i; j++)
            expect(held[i] == NULL || held[i] != held[j], "one block was given out twice");
        count += held[i] != NULL;
    }
    return count;
}

static void expect_accounted(void)
{
    struct alloc_stats stats;
    expect_sound();
    uint64_t count = expect_nobody_shares();
    alloc_stats_read(&stats);
    expect(stats.live_blocks == count, "the live blocks are not those that are held");
}

/* Everybody frees, tidies up and ends; a late thread sweeps what they left. */
static void expect_all_comes_back(void)
{
    struct alloc_stats stats;
    scheduler_become(0);
    for (int i = 0; i < HELD; i++)
        if (held[i] != NULL)
            drop(i);
    for (int i = 0; i < THREADS_MAX - 1; i++) {
        scheduler_become(i);
        (void)alloc_purge();
        alloc_thread_exit();
    }
    scheduler_become(THREADS_MAX - 1);
    (void)alloc_purge();
    expect_sound();
    alloc_stats_read(&stats);
    expect(stats.live_blocks == 0, "blocks are left");
    expect(stats.pools == 0, "a pool is left: nobody will ever look at it");
}

static void check(void)
{
    expect_accounted();
    expect_all_comes_back();
}

/* --- full, and back --------------------------------------------------------------------------------------------- */

static void setup_nearly_full(void)
{
    take_many(0, POOL);
}

/* Looks for a block, finds none, makes the pool full, or finds what came back meanwhile. */
static void take_5(void)
{
    take(5);
}

static void take_5_and_6(void)
{
    take(5);
    take(6);
}

static void take_16(void)
{
    take(16);
}

/* Both pools of thread 0 are all out; the second is not on `full` yet, so that its next request drains. */
static void setup_two_full(void)
{
    take_many(0, 2 * POOL);
}

static void drop_2_take_16(void)
{
    drop(2);
    take(16);
}

static void drop_5(void)
{
    drop(5);
}

/* All of five pools is out, so that they fill their arenas. Of the first all has come back from thread 1, of the second
 * one block: both are pending, the first on top. It will be given back at once, and be the next that is taken. */
static void setup_two_pending(void)
{
    alloc_set_decay(0);
    take_many(0, 5 * POOL);
    scheduler_become(1);
    take_sized(22, 100);
    drop(POOL);
    for (int i = 0; i < POOL; i++)
        drop(i);
    scheduler_become(0);
}

static void take_20(void)
{
    take(20);
}

static void take_21(void)
{
    take(21);
}

/* --- exit, adoption, reuse -------------------------------------------------------------------------------------- */

static void leave(void)
{
    alloc_thread_exit();
}

/* Thread 0 has two blocks of a pool out, and others in it. */
static void setup_usable(void)
{
    take_many(0, 2);
}

static void setup_orphan(void)
{
    take_many(0, 2);
    alloc_thread_exit();
}

static void setup_full_orphan(void)
{
    take_many(0, POOL);
    alloc_thread_exit();
}

/* Two full orphans, both freed into by now. Thread 2 has a heap. */
static void setup_two_queued_orphans(void)
{
    scheduler_become(2);
    take_sized(20, 100);
    scheduler_become(0);
    take_many(0, 2 * POOL);
    alloc_thread_exit();
    drop(0);
    drop(POOL);
}

/* Thread 2 has a heap already: what it does is shorter then. */
static void setup_orphan_and_heap(void)
{
    scheduler_become(2);
    take_many(8, 8 + POOL);
    scheduler_become(0);
    setup_orphan();
}

static void take_7_and_8(void)
{
    take(7);
    take(8);
}

/* 16 blocks of 1 KiB in four pages; those of the two in the middle are free again. */
static void setup_pages(void)
{
    for (int i = 0; i < 16; i++)
        take_sized(i, 1024);
    for (int i = 4; i < 12; i++)
        drop(i);
}

static void setup_pages_of_thread_1(void)
{
    scheduler_become(1);
    setup_pages();
    scheduler_become(0);
}

static void setup_pages_orphan(void)
{
    setup_pages();
    alloc_thread_exit();
}

/* Threads 0 and 1 have ended, and go on allocating all the same. */
static void setup_shared(void)
{
    scheduler_become(1);
    alloc_thread_exit();
    scheduler_become(0);
    alloc_thread_exit();
    take_many(0, POOL);
}

static void purge(void)
{
    (void)alloc_purge();
}

/* --- mappings --------------------------------------------------------------------------------------------------- */

static void setup_mappings(void)
{
    take_sized(0, HUGE);
    take_sized(1, HUGE); /* after it: growing the first moves it */
}

static void take_mapping_5(void)
{
    take_sized(5, HUGE);
}

static void take_mapping_6(void)
{
    take_sized(6, HUGE);
}

static void grow_0(void)
{
    void *moved;
    expect(alloc_realloc(held[0], LARGER, &moved) == ALLOC_OK, "a good realloc was refused");
    held[0] = moved;
}

static void check_mappings(void)
{
    for (int i = 0; i < HELD; i++)
        expect(held[i] == NULL || alloc_usable_size(held[i]) >= HUGE, "the address map forgot a mapping");
    check();
}

/* --- fork ------------------------------------------------------------------------------------------------------- */

/* In the child: the others are gone wherever they were. What was in nobody's hands is alive, can be freed, and leaves
 * nothing behind. */
static void live_as_child(void)
{
    struct alloc_stats stats;
    unsigned lost = 0;
    alloc_fork_child();
    expect_sound();
    for (int i = 16; i < 16 + POOL + 2; i++)
        take(i);
    (void)expect_nobody_shares();
    for (int i = 0; i < HELD; i++) {
        lost += in_hands[i];
        if (held[i] != NULL && !in_hands[i])
            drop(i);
    }
    (void)alloc_purge();
    alloc_thread_exit();
    (void)alloc_purge();
    expect_sound();
    alloc_stats_read(&stats);
    expect(stats.live_blocks <= lost, "blocks are left in the child");
    expect(stats.pools <= lost, "a pool is left in the child");
}

static void fork_here(void)
{
    alloc_fork_prepare();
    scheduler_snapshot(live_as_child);
    alloc_fork_parent();
}

/* The blocks that may be in hands are not noted by their takers before they have them. */
static void setup_fork(void)
{
    setup_full();
    scheduler_become(1);
    take_many(8, 8 + 2);
    scheduler_become(0);
}

static void drop_8_take_12(void)
{
    drop(8);
    take(12);
}

static void drop_9(void)
{
    drop(9);
}

/* --- all -------------------------------------------------------------------------------------------------------- */

static const struct scenario scenarios[] = {
    {"full-while-two-free", setup_nearly_full, {take_5, drop_0, drop_1}, check},
    {"full-while-one-frees-two", setup_nearly_full, {take_5_and_6, drop_0_and_1}, check},
    {"drain-while-two-free", setup_two_full, {take_16, drop_0, drop_1}, check},
    {"drain-while-two-free-apart", setup_two_full, {take_16, drop_0, drop_5}, check},
    {"drain-returns-a-pool-another-takes", setup_two_pending, {take_20, take_21}, check},
    {"relist-while-two-free", setup_two_full, {drop_2_take_16, drop_0, drop_1}, check},
    {"owner-empties-while-one-frees", setup_full, {drop_2_and_3, drop_0_and_1}, check},
    {"exit-while-two-free-the-last", setup_usable, {leave, drop_0, drop_1}, check},
    {"exit-of-full-while-two-free", setup_full, {leave, drop_0, drop_1}, check},
    {"exit-of-full-while-all-is-freed", setup_full, {leave, drop_0_and_1, drop_2_and_3}, check},
    {"adoption-while-one-frees", setup_orphan, {drop_0, take_5}, check},
    {"adoption-while-two-free", setup_orphan_and_heap, {drop_0, drop_1, take_5}, check},
    {"two-adopt-while-one-frees", setup_full_orphan, {drop_0, take_5, take_7_and_8}, check},
    {"settle-while-two-free-orphans", setup_two_queued_orphans, {drop_1, drop_5, take_16}, check},
    {"purge-while-two-free-orphans", setup_full_orphan, {drop_0_and_1, drop_2_and_3, purge}, check},
    {"reuse-of-a-heap-with-stragglers", setup_full, {leave, drop_0, take_5}, check},
    {"ended-threads-allocate", setup_shared, {take_5, take_16, drop_0}, check},
    {"trim-while-two-free", setup_full, {purge, drop_0, drop_1}, check},
    {"pages-return-while-two-free", setup_pages, {purge, drop_0, drop_1}, check},
    {"orphans-pages-return-while-one-frees", setup_pages_orphan, {purge, drop_0_and_1}, check},
    {"mapping-moves-while-one-maps", setup_mappings, {grow_0, take_mapping_5}, check_mappings},
    {"unmap-while-two-map", setup_mappings, {drop_0, take_mapping_5, take_mapping_6}, check_mappings},
    {"fork-while-one-frees", setup_full, {fork_here, drop_0_and_1}, check},
    {"fork-while-pages-return", setup_pages_of_thread_1, {fork_here, purge}, check},
    {"fork-while-two-work", setup_fork, {fork_here, drop_8_take_12, drop_9}, check},
};

static bool explore(const struct scenario *scenario, uint64_t limit)
{
    struct exploration seen;
    scheduler_explore(scenario, limit, true, &seen);
    printf("%-34s %9llu schedules, %8llu pruned, %5llu steps at most: %s\n", scenario->name,
           (unsigned long long)seen.schedules, (unsigned long long)seen.pruned,
           (unsigned long long)seen.longest,
           seen.failure != NULL ? seen.failure
           : seen.complete      ? "all"
                                : "not all");
    fflush(stdout);
    return seen.failure == NULL;
}

/* In a process of its own: each scenario begins with a virgin allocator. */
static bool explore_apart(const struct scenario *scenario, uint64_t limit)
{
    int status = -1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(explore(scenario, limit) ? 0 : 1);
    bool waited = waitpid(child, &status, 0) == child;
    if (waited && WIFSIGNALED(status))
        printf("%-34s died by signal %d in some schedule\n", scenario->name, WTERMSIG(status));
    return waited && status == 0;
}

int main(int argc, char **argv)
{
    uint64_t limit = 200000;
    const char *name = NULL;
    unsigned failed = 0, count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--long") == 0)
            limit = 0;
        else if (strncmp(argv[i], "--limit=", 8) == 0)
            limit = strtoull(argv[i] + 8, NULL, 0);
        else
            name = argv[i];
    }
    if (name == NULL)
        failed += toys_explore(&count);
    for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (name != NULL && strcmp(name, scenarios[i].name) != 0)
            continue;
        failed += !explore_apart(&scenarios[i], limit);
        count++;
    }
    printf("%u passed, %u failed\n", count - failed, failed);
    return failed == 0 && count != 0 ? 0 : 1;
}
