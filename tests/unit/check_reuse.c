/* SPDX-License-Identifier: MIT */
/* check_reuse.c - what is resident and free serves other classes before fresh memory does. */
#include <pthread.h>

#include "allocator/class.h"
#include "allocator/fast.h"
#include "allocator/heap.h"
#include "allocator/state.h"

#include "tests/unit/alloc_help.h"

#define BLOCKS 20000
static void *block[BLOCKS];

static uintptr_t slot_of(const void *p)
{
    return (uintptr_t)p >> SLOT_SHIFT;
}

/* Blocks of one class, of which then every second slot is emptied. Returns how many slots that is. */
static unsigned every_other_slot(size_t size, unsigned count)
{
    unsigned emptied = 0;
    for (unsigned i = 0; i < count; i++)
        block[i] = alloc_malloc(size);
    for (unsigned i = 0; i < count; i++) {
        if (slot_of(block[i]) % 2 != 0)
            continue;
        emptied += i == 0 || slot_of(block[i]) != slot_of(block[i - 1]);
        ck_assert_int_eq(alloc_free(block[i]), ALLOC_OK);
    }
    return emptied;
}

/* Single slots, and a class that likes to have four in a row. */
START_TEST(a_pool_is_as_short_as_what_is_resident)
{
    unsigned emptied = every_other_slot(256, 200 * 64);
    ck_assert_uint_ge(emptied, 90);
    for (unsigned i = 0; i < emptied * 25; i++)
        ck_assert_uint_eq(slot_of(alloc_malloc(640)) % 2, 0);
    ck_assert_uint_eq(slot_of(block[1]) % 2 + slot_of(block[199 * 64]) % 2, 1);
    help_verify();
}
END_TEST

/* The same where 1/8 of a slot, and more, would be left over: two of them are needed, and none is there. */
START_TEST(a_pool_is_not_so_short_that_it_wastes)
{
    (void)every_other_slot(256, 200 * 64);
    ck_assert_uint_eq(class_slots_least(class_of(6144)), 2);
    unsigned odd = 0;
    for (unsigned i = 0; i < 40; i++)
        odd += slot_of(alloc_malloc(6144)) % 2;
    ck_assert_uint_gt(odd, 0);
    help_verify();
}
END_TEST

/* A small heap's pools are whole: they cost fewer slow paths. */
START_TEST(small_pools_of_a_small_heap_have_all_their_slots)
{
    (void)every_other_slot(256, 20 * 64);
    uintptr_t first = slot_of(alloc_malloc(1024)), last = first;
    for (unsigned i = 1; i < 64; i++)
        last = slot_of(alloc_malloc(1024));
    ck_assert_uint_eq(last - first, 3);
    help_verify();
}
END_TEST

/* A fresh pool of four slots, of which one page was ever touched. */
START_TEST(slots_that_were_never_carved_are_not_resident)
{
    void *p = alloc_malloc(640);
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    uint64_t before = alloc_state.dirty_slots;
    heap_enter(alloc_own_heap);
    (void)heap_trim(alloc_own_heap, PURGE_ALL);
    heap_leave(alloc_own_heap);
    ck_assert_uint_eq(alloc_state.dirty_slots, before + 1);
    unsigned char *zeroed = alloc_malloc_zeroed(640);
    for (unsigned i = 0; i < 640; i++)
        ck_assert_uint_eq(zeroed[i], 0);
    help_verify();
}
END_TEST

#define CLASSES 20
static uintptr_t first_slot[CLASSES];

static void *one_of_each(void *unused)
{
    for (unsigned i = 0; i < CLASSES; i++) {
        block[i] = alloc_malloc(alloc_class[i].size);
        if (first_slot[i] == 0)
            first_slot[i] = slot_of(block[i]);
        ck_assert_uint_eq(first_slot[i], slot_of(block[i]));
    }
    for (unsigned i = 0; i < CLASSES; i++)
        alloc_free(block[i]);
    alloc_thread_exit();
    return unused;
}

static void *one_of_another(void *unused)
{
    alloc_free(alloc_malloc(5000));
    return one_of_each(unused);
}

/* What one thread leaves its successor finds, though it needs something else first. */
START_TEST(an_inherited_pool_is_not_taken_for_another_class)
{
    pthread_t thread;
    void *(*const lives[])(void *) = {one_of_each, one_of_each, one_of_another};
    alloc_set_decay(-1);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, lives[i], NULL), 0);
        pthread_join(thread, NULL);
    }
    help_verify();
}
END_TEST

/* The decay is off: only growth makes it look. Two looks find the first class's pools at rest. */
START_TEST(growth_returns_pages_of_pools_at_rest)
{
    enum { LARGE = 3000, SMALL = 17000 };
    alloc_set_decay(-1);
    for (unsigned i = 0; i < LARGE; i++)
        memset(block[i] = alloc_malloc(4096), 1, 4096);
    for (unsigned i = 0; i < LARGE; i++)
        if (i % 8 != 0)
            ck_assert_int_eq(alloc_free(block[i]), ALLOC_OK);
    long rss = help_rss_kb();
    for (unsigned i = 0; i < SMALL; i++)
        memset(alloc_malloc(2000), 1, 2000);
    if (!HELP_ASAN && !HELP_TSAN)
        ck_assert_int_le(help_rss_kb(), rss + SMALL * 2 - LARGE * 4 / 2);
    help_verify();
}
END_TEST

START_TEST(large_zeroed_blocks_that_are_used_again_stay_untouched)
{
    enum { SIZE = 1 << 20 };
    long before = 0;
    for (unsigned round = 0; round < 20; round++) {
        if (round == 1) /* what the first one needs is there: code, too */
            before = help_rss_kb();
        unsigned char *p = alloc_malloc_zeroed(SIZE - round * 100), *q = alloc_malloc(50000);
        for (unsigned at = 0; at < SIZE - 2000; at += 97)
            ck_assert_uint_eq(p[at], 0);
        memset(p + 100, 1, 5000);
        p[500000] = p[SIZE - 3000] = 1;
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
        ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    }
    if (!HELP_ASAN && !HELP_TSAN) /* whose shadow of it is resident, too */
        ck_assert_int_le(help_rss_kb(), before + 300);
    help_verify();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reuse");
    TCase *tests = tcase_create("reuse");
    tcase_add_test(tests, a_pool_is_as_short_as_what_is_resident);
    tcase_add_test(tests, a_pool_is_not_so_short_that_it_wastes);
    tcase_add_test(tests, small_pools_of_a_small_heap_have_all_their_slots);
    tcase_add_test(tests, slots_that_were_never_carved_are_not_resident);
    tcase_add_test(tests, an_inherited_pool_is_not_taken_for_another_class);
    tcase_add_test(tests, growth_returns_pages_of_pools_at_rest);
    tcase_add_test(tests, large_zeroed_blocks_that_are_used_again_stay_untouched);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
