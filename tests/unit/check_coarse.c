/* SPDX-License-Identifier: MIT */
/* check_coarse.c - a heap's first blocks of most sizes are of few classes. */
#include <pthread.h>
#include <string.h>

#include "allocator/class.h"
#include "allocator/coarse.h"
#include "allocator/fast.h"
#include "allocator/heap.h"
#include "allocator/state.h"

#include "tests/unit/alloc_help.h"

/* As the program's malloc does it. */
static void *take(size_t size)
{
    void *p = alloc_malloc_fast(size);
    if (p == NULL)
        p = alloc_malloc_next(size);
    return p != NULL ? p : alloc_malloc(size);
}

static size_t power_of_two(size_t size)
{
    size_t power = 16;
    while (power < size)
        power *= 2;
    return power;
}

static unsigned pools(void)
{
    struct alloc_stats stats;
    alloc_stats_read(&stats);
    return (unsigned)stats.pools;
}

START_TEST(first_blocks_are_powers_of_two)
{
    for (size_t size = 0; size <= POOL_SIZE_MAX; size += size < 1100 ? 1 : 500) {
        void *p = take(size);
        ck_assert_uint_eq(alloc_usable_size(p), power_of_two(size));
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    }
    ck_assert_uint_le(pools(), 12);
    help_verify();
}
END_TEST

/* Twenty sizes, as a small program has them. */
START_TEST(many_sizes_share_few_pools)
{
    for (unsigned i = 0; i < 20; i++)
        ck_assert_ptr_nonnull(take(10 + i * 37));
    ck_assert_uint_eq(pools(), 6);
    help_verify();
}
END_TEST

/* 64 blocks of 256 bytes are all that the coarse class has; then who asks for more gets its own, and nobody else. */
START_TEST(a_class_that_asks_for_more_gets_its_own)
{
    for (unsigned i = 0; i < 64; i++)
        ck_assert_uint_eq(alloc_usable_size(take(150)), 256);
    for (unsigned i = 0; i < 300; i++)
        ck_assert_uint_eq(alloc_usable_size(take(150)), 160);
    ck_assert_uint_eq(alloc_usable_size(take(145)), 160);
    ck_assert_uint_eq(alloc_usable_size(take(160)), 160);
    ck_assert_uint_eq(alloc_usable_size(take(161)), 176);
    ck_assert_uint_eq(alloc_usable_size(take(144)), 144);
    ck_assert_uint_eq(alloc_usable_size(take(128)), 128);
    ck_assert_uint_eq(alloc_usable_size(take(256)), 256);
    help_verify();
}
END_TEST

START_TEST(what_comes_back_to_a_coarse_class_serves_again)
{
    void *last = NULL;
    for (unsigned i = 0; i < 64; i++)
        last = take(150);
    ck_assert_int_eq(alloc_free(last), ALLOC_OK);
    ck_assert_ptr_eq(take(200), last);
    ck_assert_int_eq(alloc_free(last), ALLOC_OK);
    ck_assert_ptr_eq(alloc_malloc(250), last);
    ck_assert_uint_eq(alloc_usable_size(take(250)), 256); /* its own class */
    ck_assert_uint_eq(alloc_usable_size(take(240)), 256); /* which has a second pool now, with room */
    help_verify();
}
END_TEST

/* Past 16 KiB a coarse pool is one block, and then two. */
START_TEST(large_classes_leave_soon)
{
    ck_assert_uint_eq(alloc_usable_size(take(20000)), 32768);
    ck_assert_uint_eq(alloc_usable_size(take(20000)), 20480);
    ck_assert_uint_eq(alloc_usable_size(take(18000)), 18432);
    ck_assert_uint_eq(alloc_usable_size(take(5000)), 8192);
    ck_assert_uint_eq(alloc_usable_size(take(5000)), 8192);
    ck_assert_uint_eq(alloc_usable_size(take(5000)), 5120);
    help_verify();
}
END_TEST

/* A pool that was coarse and full is off its ring: that must not look like one that never was. */
START_TEST(a_full_coarse_pool_is_not_followed_by_another)
{
    for (unsigned i = 0; i < 32; i++)
        ck_assert_uint_eq(alloc_usable_size(take(300)), 512);
    for (unsigned i = 0; i < 200; i++)
        ck_assert_uint_eq(alloc_usable_size(take(500)), 512);
    ck_assert_uint_eq(alloc_usable_size(take(400)), 416);
    help_verify();
}
END_TEST

/* Nor is one that was trimmed away. */
START_TEST(a_coarse_pool_that_is_gone_is_not_followed_by_another)
{
    void *p = take(150);
    ck_assert_uint_eq(alloc_usable_size(p), 256);
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    heap_enter(alloc_own_heap);
    (void)heap_trim(alloc_own_heap, PURGE_ALL);
    heap_leave(alloc_own_heap);
    ck_assert_uint_eq(alloc_usable_size(take(150)), 160);
    help_verify();
}
END_TEST

/* What an alignment needs is a class whose size it divides. */
START_TEST(an_alignment_gets_its_very_class)
{
    for (unsigned i = 0; i < 1000; i++) {
        void *p = alloc_malloc_aligned(64, 192);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        ck_assert_uint_eq(alloc_usable_size(p), 192);
    }
    ck_assert_uint_eq(alloc_usable_size(take(192)), 256);
    ck_assert_uint_eq(alloc_usable_size(take(170)), 256);
    help_verify();
}
END_TEST

START_TEST(zeroed_blocks_are_zero_throughout)
{
    for (unsigned i = 0; i < 200; i++) {
        unsigned char *p = alloc_malloc_zeroed(150);
        for (size_t at = 0; at < alloc_usable_size(p); at++)
            ck_assert_uint_eq(p[at], 0);
        memset(p, 0xff, alloc_usable_size(p));
        if (i % 3 != 0)
            ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    }
    help_verify();
}
END_TEST

/* --- threads ------------------------------------------------------------------------------------------------------ */

static void *in_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    void *result;
    ck_assert_int_eq(pthread_create(&thread, NULL, run, arg), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    return result;
}

static void *few_blocks(void *arg)
{
    (void)arg;
    void *p = take(150), *q = take(200);
    size_t sizes = alloc_usable_size(p) + alloc_usable_size(q);
    ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    alloc_thread_exit();
    return (void *)sizes;
}

static void *many_blocks(void *arg)
{
    void *p[400];
    (void)arg;
    for (unsigned i = 0; i < 400; i++)
        p[i] = take(150);
    ck_assert_uint_eq(alloc_usable_size(p[399]), 160);
    for (unsigned i = 0; i < 400; i++)
        ck_assert_int_eq(alloc_free(p[i]), ALLOC_OK);
    alloc_thread_exit();
    return NULL;
}

/* Each leaves a block, with which its pool goes to the orphanage. */
START_TEST(each_thread_begins_anew)
{
    for (unsigned i = 0; i < 50; i++)
        ck_assert_uint_eq((size_t)in_thread(few_blocks, NULL), 512);
    help_verify();
}
END_TEST

/* The pool that a heap kept is not left idle beside a coarse one. */
START_TEST(an_inherited_pool_serves_its_class)
{
    (void)in_thread(many_blocks, NULL);
    size_t sizes = (size_t)in_thread(few_blocks, NULL);
    ck_assert_uint_eq(sizes, 160 + 256);
    help_verify();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("coarse");
    TCase *tests = tcase_create("coarse");
    tcase_add_test(tests, first_blocks_are_powers_of_two);
    tcase_add_test(tests, many_sizes_share_few_pools);
    tcase_add_test(tests, a_class_that_asks_for_more_gets_its_own);
    tcase_add_test(tests, what_comes_back_to_a_coarse_class_serves_again);
    tcase_add_test(tests, large_classes_leave_soon);
    tcase_add_test(tests, a_full_coarse_pool_is_not_followed_by_another);
    tcase_add_test(tests, a_coarse_pool_that_is_gone_is_not_followed_by_another);
    tcase_add_test(tests, an_alignment_gets_its_very_class);
    tcase_add_test(tests, zeroed_blocks_are_zero_throughout);
    tcase_add_test(tests, each_thread_begins_anew);
    tcase_add_test(tests, an_inherited_pool_serves_its_class);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
