/* SPDX-License-Identifier: MIT */
/* preload/quarantine.c: first in first out, bounded twice, and no block lost or let go twice. */
#include <check.h>
#include <pthread.h>
#include <string.h>

#include "preload/quarantine.h"

#define PLACES  16384u
#define THREADS 4u
#define EACH    50000u

/* Blocks are never touched: numbers do, 16 apart as addresses are. */
static void *block(size_t number)
{
    return (void *)((number + 1) * 16);
}

static size_t number_of(const void *p)
{
    return (uintptr_t)p / 16 - 1;
}

static unsigned char left[THREADS * EACH];
static size_t last_left, count_left, capacity = 100;

static void leave(void *p)
{
    __atomic_store_n(&last_left, number_of(p), __ATOMIC_RELAXED);
    __atomic_add_fetch(&left[number_of(p)], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&count_left, 1, __ATOMIC_RELAXED);
    quarantine_uncount(capacity);
}

START_TEST(the_oldest_leaves_when_the_bytes_are_too_many)
{
    ck_assert(quarantine_start(1000, leave));
    for (size_t i = 0; i < 10; i++)
        quarantine_put(block(i), 100);
    ck_assert_uint_eq(count_left, 0);
    for (size_t i = 10; i < 100; i++) {
        quarantine_put(block(i), 100);
        ck_assert_uint_eq(count_left, i - 9);
        ck_assert_uint_eq(last_left, i - 10);
    }
}
END_TEST

START_TEST(the_oldest_leaves_when_the_places_are_full)
{
    ck_assert(quarantine_start(1ull << 40, leave));
    for (size_t i = 0; i < PLACES; i++)
        quarantine_put(block(i), 100);
    ck_assert_uint_eq(count_left, 0);
    for (size_t i = PLACES; i < 3 * PLACES; i++) {
        quarantine_put(block(i), 100);
        ck_assert_uint_eq(last_left, i - PLACES);
    }
    ck_assert_uint_eq(count_left, 2 * PLACES);
}
END_TEST

START_TEST(what_is_too_large_is_not_taken_nor_anything_by_a_quarantine_of_nothing)
{
    ck_assert(!quarantine_takes(1));
    ck_assert(!quarantine_start(0, leave));
    ck_assert(!quarantine_takes(1));
    ck_assert(!quarantine_empty(1));
    ck_assert(quarantine_start(1000, leave));
    ck_assert(quarantine_takes(500));
    ck_assert(!quarantine_takes(501));
}
END_TEST

START_TEST(out_of_memory_empties_it_unless_that_cannot_help)
{
    ck_assert(quarantine_start(100000, leave));
    for (size_t i = 0; i < 50; i++)
        quarantine_put(block(i), 100);
    ck_assert(!quarantine_empty(5001));
    ck_assert_uint_eq(count_left, 0);
    ck_assert(quarantine_empty(5000));
    ck_assert_uint_eq(count_left, 50);
    ck_assert(!quarantine_empty(1));
}
END_TEST

static size_t seen;

static void look(void *p)
{
    ck_assert_uint_eq(number_of(p), seen);
    seen++;
}

START_TEST(the_last_look_sees_what_waits_once)
{
    ck_assert(quarantine_start(100000, leave));
    for (size_t i = 0; i < 50; i++)
        quarantine_put(block(i), 100);
    quarantine_each(look);
    quarantine_each(look);
    ck_assert_uint_eq(seen, 50);
    ck_assert_uint_eq(count_left, 0);
}
END_TEST

static void *putter(void *first)
{
    for (size_t i = 0; i < EACH; i++) {
        quarantine_put(block((uintptr_t)first + i), capacity);
        if (i % 5000 == 0)
            quarantine_empty(1);
    }
    return NULL;
}

START_TEST(threads_lose_no_block_and_let_none_go_twice)
{
    pthread_t threads[THREADS];
    ck_assert(quarantine_start(20000 * capacity, leave));
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, putter, (void *)(i * EACH)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    /* A late putter's block may lie where the tail has passed: until the head has come round. */
    for (size_t i = 0; i < PLACES; i++)
        quarantine_put(block(0), capacity);
    for (size_t i = 1; i < THREADS * EACH; i++)
        ck_assert_msg(left[i] == 1, "block %zu has left %d times", i, left[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quarantine");
    TCase *tcase = tcase_create("quarantine");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, the_oldest_leaves_when_the_bytes_are_too_many);
    tcase_add_test(tcase, the_oldest_leaves_when_the_places_are_full);
    tcase_add_test(tcase, what_is_too_large_is_not_taken_nor_anything_by_a_quarantine_of_nothing);
    tcase_add_test(tcase, out_of_memory_empties_it_unless_that_cannot_help);
    tcase_add_test(tcase, the_last_look_sees_what_waits_once);
    tcase_add_test(tcase, threads_lose_no_block_and_let_none_go_twice);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
