/* SPDX-License-Identifier: MIT */
/* check_platform.c - the verbs that reach the kernel, and the lock. */
#include "allocator/platform.h"

#include <errno.h>
#include <pthread.h>

#include "allocator/metadata.h"

#include "tests/unit/alloc_help.h"

#define MIB ((size_t)1 << 20)

START_TEST(maps_are_aligned_zeroed_and_returned)
{
    errno = 33;
    for (size_t alignment = 4096; alignment <= 64 * MIB; alignment *= 4) {
        unsigned char *p = platform_map(3 * 4096, alignment);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % alignment, 0);
        ck_assert_uint_eq(p[0] + p[3 * 4096 - 1], 0);
        p[0] = 1;
        ck_assert(platform_purge(p, 4096));
        ck_assert_uint_eq(p[0], 0);
        ck_assert(platform_unmap(p, 3 * 4096));
    }
    ck_assert_ptr_null(platform_map((size_t)1 << 50, 4096));
    ck_assert(!platform_unmap((void *)(uintptr_t)1, 4096));
    ck_assert(!platform_purge((void *)(uintptr_t)1, 4096));
    ck_assert_int_eq(errno, 33);
}
END_TEST

START_TEST(a_hint_is_taken_where_it_can_be)
{
    unsigned char *p = platform_map(4 * MIB, 4 * MIB);
    unsigned char *below = platform_map_near(p - 64 * MIB, 4 * MIB, 4 * MIB);
    ck_assert_ptr_nonnull(below);
    unsigned char *taken = platform_map_near(p, 4 * MIB, 4 * MIB); /* occupied: somewhere else */
    ck_assert_ptr_nonnull(taken);
    ck_assert_ptr_ne(taken, p);
    ck_assert_uint_eq((uintptr_t)taken % (4 * MIB), 0);
}
END_TEST

START_TEST(move_takes_the_pages_along)
{
    unsigned char *p = platform_map(MIB, 4 * MIB), *target = platform_map(2 * MIB, 4 * MIB);
    p[MIB - 1] = 5;
    ck_assert(platform_move(p, MIB, target, 2 * MIB));
    ck_assert_uint_eq(target[MIB - 1], 5);
    ck_assert_uint_eq(target[2 * MIB - 1], 0);
    ck_assert(platform_resize(target, 2 * MIB, MIB));
    ck_assert_uint_eq(target[MIB - 1], 5);
}
END_TEST

START_TEST(the_nth_call_fails_and_only_that)
{
    (void)platform_fail_nth(2);
    void *p = platform_map(4096, 4096);
    ck_assert_ptr_nonnull(p);
    ck_assert(!platform_purge(p, 4096));
    ck_assert(platform_purge(p, 4096));
    ck_assert_uint_eq(platform_fail_nth(0), 3);
    ck_assert(platform_unmap(p, 4096));
    ck_assert_uint_eq(platform_fail_nth(0), 1);
}
END_TEST

static struct platform_lock lock;
static long counter;

static void *count_up(void *arg)
{
    for (int i = 0; i < 100000; i++) {
        if (i % 3 != 0 || !platform_try_lock(&lock))
            platform_lock(&lock);
        counter++;
        platform_unlock(&lock);
    }
    return arg;
}

START_TEST(the_lock_excludes)
{
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, count_up, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    ck_assert_int_eq(counter, 400000);
    ck_assert(platform_try_lock(&lock));
    ck_assert(!platform_try_lock(&lock));
    platform_lock_reset(&lock);
    ck_assert(platform_try_lock(&lock));
}
END_TEST

START_TEST(metadata_comes_back_for_the_same_size)
{
    void *small = metadata_take(100), *large = metadata_take(3 * MIB);
    ck_assert_ptr_nonnull(small);
    ck_assert_ptr_nonnull(large);
    uint64_t before = metadata_bytes();
    for (int i = 0; i < 1000; i++) {
        metadata_give(small, 100);
        metadata_give(large, 3 * MIB);
        ck_assert_ptr_eq(metadata_take(65), small);
        ck_assert_ptr_eq(metadata_take(3 * MIB - 100000), large);
    }
    ck_assert_uint_eq(metadata_bytes(), before);
    unsigned char *pages = platform_map_metadata(5000);
    ck_assert_uint_eq((uintptr_t)pages % 4096, 0);
    ck_assert_uint_eq(pages[0] + pages[8191], 0);
    ck_assert_ptr_null(platform_map_metadata(SIZE_MAX));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("platform");
    TCase *tests = tcase_create("verbs");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, maps_are_aligned_zeroed_and_returned);
    tcase_add_test(tests, a_hint_is_taken_where_it_can_be);
    tcase_add_test(tests, move_takes_the_pages_along);
    tcase_add_test(tests, the_nth_call_fails_and_only_that);
    tcase_add_test(tests, the_lock_excludes);
    tcase_add_test(tests, metadata_comes_back_for_the_same_size);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
