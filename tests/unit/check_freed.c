/* SPDX-License-Identifier: MIT */
/* preload/freed.c: what was freed lately is found, what was not is not, and nothing is torn. */
#include <check.h>
#include <pthread.h>

#include "preload/freed.h"

#define KEPT_FEW  256u
#define KEPT_MANY 8192u

static const void *page(unsigned number)
{
    return (const void *)(0x700000000000ull + (uint64_t)number * 4096);
}

static void note(const void *p, uint64_t size)
{
    freed_note(p, &(struct freed_block){.size = size, .site = (uint32_t)size, .free_site = ~(uint32_t)size});
}

static unsigned found(unsigned count)
{
    unsigned n = 0;
    struct freed_block block;
    for (unsigned i = 0; i < count; i++) {
        if (!freed_find(page(i), &block))
            continue;
        ck_assert_uint_eq(block.size, i);
        ck_assert_uint_eq(block.site, i);
        ck_assert_uint_eq(block.free_site, ~i);
        n++;
    }
    return n;
}

START_TEST(what_was_freed_is_found_as_it_was_noted)
{
    struct freed_block block;
    ck_assert(!freed_find(page(1), &block));
    note(page(1), 77);
    ck_assert(freed_find(page(1), &block));
    ck_assert_uint_eq(block.size, 77);
    ck_assert(!freed_find((const char *)page(1) + 16, &block));
    ck_assert(!freed_find(page(2), &block));
    ck_assert(!freed_find(NULL, &block));
}
END_TEST

START_TEST(the_newest_of_an_address_counts)
{
    struct freed_block block;
    note(page(5), 1);
    note(page(5), 2);
    ck_assert(freed_find(page(5), &block));
    ck_assert_uint_eq(block.size, 2);
}
END_TEST

START_TEST(older_ones_make_room_and_none_is_mixed_up)
{
    for (unsigned i = 0; i < 100000; i++)
        note(page(i), i);
    unsigned n = found(100000);
    ck_assert_uint_gt(n, KEPT_FEW / 2);
    ck_assert_uint_le(n, KEPT_FEW);
}
END_TEST

START_TEST(with_room_for_all_thousands_are_kept)
{
    freed_keep_all();
    freed_keep_all();
    for (unsigned i = 0; i < 100000; i++)
        note(page(i), i);
    unsigned n = found(100000);
    ck_assert_uint_gt(n, KEPT_MANY / 2);
    ck_assert_uint_le(n, KEPT_MANY);
}
END_TEST

static bool stop;

static void *writer(void *seed)
{
    for (unsigned i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
        unsigned number = (i * 7 + (unsigned)(uintptr_t)seed) % 600;
        note(page(number), number);
    }
    return NULL;
}

/* More addresses than entries: each is taken over all the time. */
START_TEST(a_reader_beside_writers_sees_whole_entries)
{
    pthread_t threads[2];
    unsigned n = 0;
    for (uintptr_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, writer, (void *)(i * 300)), 0);
    for (int round = 0; round < 2000 || (n == 0 && round < 1000000); round++)
        n += found(600);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_gt(n, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("freed");
    TCase *tcase = tcase_create("freed");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_was_freed_is_found_as_it_was_noted);
    tcase_add_test(tcase, the_newest_of_an_address_counts);
    tcase_add_test(tcase, older_ones_make_room_and_none_is_mixed_up);
    tcase_add_test(tcase, with_room_for_all_thousands_are_kept);
    tcase_add_test(tcase, a_reader_beside_writers_sees_whole_entries);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
