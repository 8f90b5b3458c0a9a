/* SPDX-License-Identifier: MIT */
/* check_purge.c - memory goes back: decay, purge on request, little address space, a kernel that refuses. */
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "allocator/fast.h"
#include "allocator/platform.h"

#include "tests/unit/alloc_help.h"

#define MIB    ((size_t)1 << 20)
#define BLOCKS 60000
static void *block[BLOCKS];

static void fill(size_t size, int count)
{
    for (int i = 0; i < count; i++) {
        block[i] = alloc_malloc(size);
        ck_assert_ptr_nonnull(block[i]);
        memset(block[i], 1, size);
    }
}

static void empty(int count)
{
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(alloc_free(block[i]), ALLOC_OK);
}

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

START_TEST(purge_returns_memory_and_address_space)
{
    long before = help_rss_kb();
    alloc_set_decay(-1);
    fill(1000, BLOCKS);
    ck_assert_int_ge(help_rss_kb(), before + 50000);
    empty(BLOCKS);
    ck_assert_int_ge(help_rss_kb(), before + 50000); /* never by itself */
    ck_assert(alloc_purge());
    ck_assert_int_le(help_rss_kb(), before + 5000);
    struct alloc_stats stats;
    alloc_stats_read(&stats);
    ck_assert_uint_le(stats.mapped, 8 * MIB);
    ck_assert_uint_ge(stats.mapped_peak, 60 * MIB);
    help_verify();
}
END_TEST

START_TEST(memory_decays_on_later_slow_paths)
{
    long before = help_rss_kb();
    alloc_set_decay(50);
    fill(50000, 1000);
    empty(1000);
    for (int i = 0; i < 30; i++) {
        sleep_ms(20);
        alloc_free(alloc_malloc(100000));
    }
    ck_assert_int_le(help_rss_kb(), before + 8000);
    help_verify();
}
END_TEST

START_TEST(a_decay_of_zero_keeps_nothing)
{
    alloc_set_decay(0);
    fill(100, 100); /* metadata and such */
    empty(100);
    long before = help_rss_kb();
    fill(3000, 10000);
    empty(10000);
    ck_assert_int_le(help_rss_kb(), before + 3000);
    help_verify();
}
END_TEST

START_TEST(one_survivor_pins_its_slot_only)
{
    long before = help_rss_kb();
    fill(1000, BLOCKS);
    void *survivor = block[BLOCKS / 2];
    block[BLOCKS / 2] = alloc_malloc(1000);
    empty(BLOCKS);
    alloc_purge();
    ck_assert_int_le(help_rss_kb(), before + 6000);
    ck_assert_int_eq(alloc_free(survivor), ALLOC_OK);
}
END_TEST

/* --- 64 MiB of address space ---------------------------------------------------------------------------- */

/* What the walker takes from the C library's malloc is there before. */
static void limit_address_space(size_t bytes)
{
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    void *volatile there = malloc(2 * MIB); /* or the compiler leaves both out */
    free(there);
    struct rlimit limit = {bytes, bytes};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

static int fill_until_out(size_t size)
{
    int count = 0;
    while (count < BLOCKS && (block[count] = alloc_malloc(size)) != NULL)
        memset(block[count++], 2, size < 64 ? size : 64);
    return count;
}

START_TEST(running_out_of_address_space_is_null_and_frees_heal_it)
{
    static const size_t sizes[] = {8000, 100000, MIB, 3 * MIB, 600, 20000, 5 * MIB};
    limit_address_space(64 * MIB);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            int count = fill_until_out(sizes[i]);
            if (sizes[i] >= 8000)
                ck_assert_int_lt(count, BLOCKS);
            /* at least half of the limit was to be had, every time */
            ck_assert_uint_ge((size_t)count * sizes[i], 26 * MIB);
            empty(count);
            help_verify();
        }
    }
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

START_TEST(realloc_that_finds_no_room_leaves_the_block)
{
    limit_address_space(64 * MIB);
    unsigned char *p = alloc_malloc(20 * MIB);
    void *q;
    ck_assert_ptr_nonnull(p);
    p[0] = 9;
    p[20 * MIB - 1] = 8;
    ck_assert_int_eq(alloc_realloc(p, 60 * MIB, &q), ALLOC_OK);
    ck_assert_ptr_null(q);
    ck_assert_uint_eq(p[0] + p[20 * MIB - 1], 17);
    help_verify();
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
}
END_TEST

/* --- every n-th kernel call fails ----------------------------------------------------------------------- */

#define TRACE_STEPS 400
#define TRACE_SLOTS 40

static size_t trace_size(uint64_t *seed)
{
    switch (help_random(seed) % 8) {
    case 0:
        return help_random(seed) % (12 * MIB);
    case 1:
    case 2:
        return help_random(seed) % (2 * MIB);
    case 3:
        return help_random(seed) % 60000;
    default:
        return help_random(seed) % 3000;
    }
}

/* The same steps every time; a step whose memory cannot be had is left out. Returns how many were. */
static int trace_run(void)
{
    struct {
        unsigned char *p;
        size_t size;
    } slot[TRACE_SLOTS] = {{0}};
    uint64_t seed = 20240607;
    int refused = 0;
    for (int step = 0; step < TRACE_STEPS; step++) {
        unsigned k = help_random(&seed) % TRACE_SLOTS, what = help_random(&seed) % 4;
        size_t size = trace_size(&seed) + 1;
        if (slot[k].p == NULL) {
            slot[k].p = what == 0 ? alloc_malloc_aligned(4096 << k % 8, size) : alloc_malloc(size);
            slot[k].size = size;
        } else if (what == 0) {
            void *moved;
            ck_assert_int_eq(alloc_realloc(slot[k].p, size, &moved), ALLOC_OK);
            if (moved == NULL) {
                refused++;
                size = slot[k].size;
                moved = slot[k].p;
            }
            slot[k].p = moved;
            ck_assert_uint_eq(slot[k].p[0], k);
            slot[k].size = size;
        } else {
            ck_assert_uint_eq(slot[k].p[0], k);
            ck_assert_uint_eq(slot[k].p[slot[k].size - 1], k);
            ck_assert_int_eq(alloc_free(slot[k].p), ALLOC_OK);
            slot[k].p = NULL;
            if (step % 16 == 0)
                alloc_purge();
            continue;
        }
        if (slot[k].p == NULL) {
            refused++;
            continue;
        }
        slot[k].p[0] = slot[k].p[slot[k].size - 1] = (unsigned char)k;
    }
    for (int k = 0; k < TRACE_SLOTS; k++)
        if (slot[k].p != NULL)
            ck_assert_int_eq(alloc_free(slot[k].p), ALLOC_OK);
    return refused;
}

START_TEST(any_single_kernel_failure_is_survived)
{
    alloc_set_decay(0);
    (void)platform_fail_nth(0);
    ck_assert_int_eq(trace_run(), 0);
    uint64_t calls = platform_fail_nth(0), failures = 0;
    ck_assert_uint_ge(calls, 100);
    for (uint64_t n = 1; n <= calls; n++) {
        (void)platform_fail_nth(n);
        failures += trace_run() != 0;
        (void)platform_fail_nth(0);
        help_verify();
        ck_assert_uint_eq(help_live(), 0);
    }
    fprintf(stderr, "  %llu kernel calls, each failed once; %llu showed as NULL\n", (unsigned long long)calls,
            (unsigned long long)failures);
}
END_TEST

START_TEST(the_very_first_calls_may_fail)
{
    for (uint64_t n = 1; n <= 8; n++) {
        (void)platform_fail_nth(n);
        void *p = alloc_malloc(100), *q = alloc_malloc(100000), *r = alloc_malloc(3 * MIB);
        (void)platform_fail_nth(0);
        ck_assert_ptr_nonnull(alloc_malloc(100));
        ck_assert(p == NULL || alloc_free(p) == ALLOC_OK);
        ck_assert(q == NULL || alloc_free(q) == ALLOC_OK);
        ck_assert(r == NULL || alloc_free(r) == ALLOC_OK);
        help_verify();
    }
}
END_TEST

START_TEST(a_mapping_the_kernel_keeps_is_used_again)
{
    void *p = alloc_malloc(5 * MIB);
    memset(p, 1, 5 * MIB);
    (void)platform_fail_nth(1);
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    (void)platform_fail_nth(0);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
    ck_assert_int_eq(alloc_free(p), ALLOC_DOUBLE_FREE);
    unsigned char *q = alloc_malloc_zeroed(5 * MIB - 100);
    ck_assert_ptr_eq(q, p);
    for (size_t i = 0; i < 5 * MIB - 100; i += 999)
        ck_assert_uint_eq(q[i], 0);
    ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    help_verify();
}
END_TEST

/* --- pages inside pools in use -------------------------------------------------------------------------- */

#define MANY 40000
static unsigned char *many[MANY];

static bool survives(int i, int step)
{
    return i % step == 0;
}

static void fill_and_thin(size_t size, int step)
{
    for (int i = 0; i < MANY; i++) {
        many[i] = alloc_malloc(size);
        memset(many[i], i, size);
    }
    for (int i = 0; i < MANY; i++)
        if (!survives(i, step))
            ck_assert_int_eq(alloc_free(many[i]), ALLOC_OK);
}

static void expect_survivors(size_t size, int step)
{
    for (int i = 0; i < MANY; i += step)
        for (size_t at = 0; at < size; at += 7)
            ck_assert_uint_eq(many[i][at], (unsigned char)i);
}

static const struct {
    size_t size;
    int step;
} thinnings[] = {{64, 1000}, {100, 90}, {304, 30}, {1000, 13}, {1500, 8}};

START_TEST(free_pages_between_survivors_are_returned_and_come_back)
{
    size_t size = thinnings[_i].size;
    int step = thinnings[_i].step;
    struct alloc_stats stats;
    fill_and_thin(size, step);
    long before = help_rss_kb();
    ck_assert(alloc_purge());
    help_verify();
    alloc_stats_read(&stats);
    ck_assert_uint_eq(stats.live_blocks, (MANY + step - 1) / step);
    ck_assert_uint_eq(help_live(), stats.live_blocks);
    /* Survivors pin a page, or two, each. */
    long pinned = (long)stats.live_blocks * 8 + (long)stats.pools * 4;
    if (!HELP_ASAN && !HELP_TSAN) /* their shadow counts as resident */
        ck_assert_int_le(help_rss_kb(), before - (long)(MANY * size >> 10) + pinned + 600);
    expect_survivors(size, step);
    for (int i = 1; i < MANY; i++) {
        if (survives(i, step))
            continue;
        ck_assert(!alloc_free_fast(many[i]));
        ck_assert_int_eq(alloc_free(many[i]), ALLOC_DOUBLE_FREE);
    }
    for (int i = 0; i < MANY; i++)
        if (!survives(i, step))
            memset(many[i] = alloc_malloc(size), i, size);
    help_verify();
    ck_assert_uint_eq(help_live(), MANY);
    for (int i = 0; i < MANY; i++) {
        ck_assert_uint_eq(many[i][size - 1], (unsigned char)i);
        ck_assert_int_eq(alloc_free(many[i]), ALLOC_OK);
    }
    ck_assert_uint_eq(help_live(), 0);
    help_verify();
}
END_TEST

static void *fill_and_leave(void *arg)
{
    (void)arg;
    fill_and_thin(200, 100);
    alloc_thread_exit();
    return NULL;
}

START_TEST(free_pages_of_orphans_are_returned_and_the_rest_is_adopted)
{
    pthread_t thread;
    struct alloc_stats stats;
    pthread_create(&thread, NULL, fill_and_leave, NULL);
    pthread_join(thread, NULL);
    ck_assert(alloc_purge());
    help_verify();
    alloc_stats_read(&stats);
    ck_assert_uint_lt(stats.free_in_pools, MANY * 200 / 3);
    expect_survivors(200, 100);
    for (int i = 0; i < MANY; i++)
        if (!survives(i, 100))
            memset(many[i] = alloc_malloc_zeroed(200), i, 200);
    expect_survivors(200, 100);
    help_verify();
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(alloc_free(many[i]), ALLOC_OK);
    ck_assert_uint_eq(help_live(), 0);
    help_verify();
}
END_TEST

START_TEST(a_child_of_fork_takes_over_pools_with_purged_pages)
{
    fill_and_thin(200, 50);
    ck_assert(alloc_purge());
    alloc_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        alloc_fork_child();
        expect_survivors(200, 50);
        for (int i = 0; i < MANY; i++)
            if (!survives(i, 50))
                memset(many[i] = alloc_malloc(200), i, 200);
        for (int i = 0; i < MANY; i++)
            alloc_free(many[i]);
        _exit(help_live() == 0 && alloc_verify(help_complain, NULL) == 0 ? 0 : 1);
    }
    alloc_fork_parent();
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("purge");
    TCase *tests = tcase_create("memory");
    tcase_set_timeout(tests, 120);
    if (!HELP_ASAN && !HELP_TSAN) { /* their shadow counts as resident, and as address space */
        tcase_add_test(tests, purge_returns_memory_and_address_space);
        tcase_add_test(tests, memory_decays_on_later_slow_paths);
        tcase_add_test(tests, a_decay_of_zero_keeps_nothing);
        tcase_add_test(tests, one_survivor_pins_its_slot_only);
        tcase_add_test(tests, running_out_of_address_space_is_null_and_frees_heal_it);
        tcase_add_test(tests, realloc_that_finds_no_room_leaves_the_block);
    }
    tcase_add_test(tests, any_single_kernel_failure_is_survived);
    tcase_add_test(tests, the_very_first_calls_may_fail);
    tcase_add_test(tests, a_mapping_the_kernel_keeps_is_used_again);
    tcase_add_loop_test(tests, free_pages_between_survivors_are_returned_and_come_back, 0,
                        sizeof thinnings / sizeof *thinnings);
    tcase_add_test(tests, free_pages_of_orphans_are_returned_and_the_rest_is_adopted);
    tcase_add_test(tests, a_child_of_fork_takes_over_pools_with_purged_pages);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
