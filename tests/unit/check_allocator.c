/* SPDX-License-Identifier: MIT */
/* check_allocator.c - one thread: sizes, alignment, zeroing, realloc, ledgers, modes. Wrong use:
 * check_wrong_free.c. */
#include "allocator/fast.h"

#include <errno.h>

#include "tests/unit/alloc_help.h"

#define MIB ((size_t)1 << 20)

static const size_t edges[] = {0,           1,       15,          16,      17,          1024,    1025,
                               4096,        32768,   32769,       65536,   2 * MIB - 1, 2 * MIB, 2 * MIB + 1,
                               4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB, 100000,      262144};
#define EDGES (sizeof edges / sizeof *edges)

static bool all_bytes(const unsigned char *p, size_t size, unsigned char value)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] != value)
            return false;
    return true;
}

/* --- allocating ----------------------------------------------------------------------------------------- */

START_TEST(every_edge_size_is_aligned_usable_and_freed)
{
    for (size_t i = 0; i < EDGES; i++) {
        unsigned char *p = alloc_malloc(edges[i]);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        ck_assert_uint_ge(alloc_usable_size(p), edges[i]);
        memset(p, 0xa5, alloc_usable_size(p));
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
        help_verify();
    }
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

START_TEST(too_large_is_null_and_errno_is_left_alone)
{
    errno = 77;
    ck_assert_ptr_null(alloc_malloc((size_t)PTRDIFF_MAX + 1));
    ck_assert_ptr_null(alloc_malloc(SIZE_MAX));
    ck_assert_ptr_null(alloc_malloc(PTRDIFF_MAX));
    ck_assert_ptr_null(alloc_malloc_zeroed(SIZE_MAX - 5));
    ck_assert_ptr_null(alloc_malloc_aligned(4096, PTRDIFF_MAX));
    ck_assert_ptr_null(alloc_malloc_aligned((size_t)1 << 31, 16));
    void *p = alloc_malloc(10), *q = &q;
    ck_assert_int_eq(alloc_realloc(p, SIZE_MAX, &q), ALLOC_OK);
    ck_assert_ptr_null(q);
    ck_assert_int_eq(alloc_realloc(p, PTRDIFF_MAX, &q), ALLOC_OK);
    ck_assert_ptr_null(q);
    ck_assert_uint_ge(alloc_usable_size(p), 10);
    ck_assert_int_eq(errno, 77);
    help_verify();
}
END_TEST

START_TEST(every_alignment_holds_for_many_sizes)
{
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2) {
        for (size_t i = 0; i < EDGES; i++) {
            void *p = alloc_malloc_aligned(alignment, edges[i]);
            ck_assert_ptr_nonnull(p);
            ck_assert_uint_eq((uintptr_t)p % alignment, 0);
            ck_assert_uint_ge(alloc_usable_size(p), edges[i]);
            *(volatile char *)p = 1;
            ck_assert_int_eq(alloc_free(p), ALLOC_OK);
        }
    }
    help_verify();
}
END_TEST

START_TEST(alignment_of_a_gibibyte)
{
    void *p = alloc_malloc_aligned((size_t)1 << 30, 100);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq((uintptr_t)p % ((size_t)1 << 30), 0);
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    help_verify();
}
END_TEST

START_TEST(reused_blocks_are_zeroed_when_asked)
{
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < EDGES; i++) {
            void *dirty[5];
            for (int k = 0; k < 5; k++) {
                dirty[k] = alloc_malloc(edges[i]);
                memset(dirty[k], 0xff, alloc_usable_size(dirty[k]));
            }
            for (int k = 0; k < 5; k++)
                alloc_free(dirty[k]);
            for (int k = 0; k < 5; k++) {
                dirty[k] = alloc_malloc_zeroed(edges[i]);
                ck_assert(all_bytes(dirty[k], edges[i], 0));
                memset(dirty[k], 0xff, edges[i]);
            }
            for (int k = 0; k < 5; k++)
                alloc_free(dirty[k]);
        }
    }
}
END_TEST

/* The compiler shall not see, and warn, that it is asked about what is no block. */
static bool free_fast(void *p)
{
    void *volatile hidden = p;
    return alloc_free_fast(hidden);
}

START_TEST(the_fast_paths_serve_small_blocks_and_leave_the_rest)
{
    ck_assert_ptr_null(alloc_malloc_fast(24)); /* not attached yet */
    void *first = alloc_malloc(24);
    void *p = alloc_malloc_fast(24);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_null(alloc_malloc_fast(2000));
    ck_assert(free_fast(p));
    ck_assert(!free_fast(p));                    /* twice */
    ck_assert(!free_fast((char *)first + 16));   /* inside */
    ck_assert(!free_fast(&p));                   /* stack */
    ck_assert(!free_fast((void *)(uintptr_t)8)); /* tiny */
    ck_assert(!free_fast((void *)0xdead00000000beef));
    ck_assert(!free_fast(NULL));
    ck_assert(free_fast(first));
    ck_assert_uint_eq(help_live(), 0);
    help_verify();
}
END_TEST

START_TEST(interception_makes_the_fast_paths_miss)
{
    void *p = alloc_malloc(24);
    alloc_intercept(true);
    ck_assert_ptr_null(alloc_malloc_fast(24));
    ck_assert(!alloc_free_fast(p));
    void *q = alloc_malloc(24);
    ck_assert_ptr_nonnull(q);
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    alloc_intercept(false);
    ck_assert_ptr_nonnull(alloc_malloc_fast(24));
    help_verify();
}
END_TEST

/* --- realloc -------------------------------------------------------------------------------------------- */

START_TEST(realloc_keeps_the_content_between_all_kinds)
{
    for (size_t from = 0; from < EDGES; from++) {
        for (size_t to = 0; to < EDGES; to++) {
            size_t kept = edges[from] < edges[to] ? edges[from] : edges[to];
            void *p = alloc_malloc(edges[from]), *q;
            memset(p, 0x3c, edges[from]);
            ck_assert_int_eq(alloc_realloc(p, edges[to] == 0 ? 1 : edges[to], &q), ALLOC_OK);
            ck_assert_ptr_nonnull(q);
            ck_assert(all_bytes(q, kept, 0x3c));
            ck_assert_uint_ge(alloc_usable_size(q), edges[to]);
            memset(q, 0xc3, edges[to]);
            ck_assert_int_eq(alloc_free(q), ALLOC_OK);
        }
    }
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

START_TEST(a_span_grows_and_shrinks_in_place)
{
    void *p = alloc_malloc(100000), *q;
    ck_assert_int_eq(alloc_realloc(p, 200000, &q), ALLOC_OK);
    ck_assert_ptr_eq(p, q);
    ck_assert_int_eq(alloc_realloc(p, 60000, &q), ALLOC_OK);
    ck_assert_ptr_eq(p, q);
    ck_assert_uint_le(alloc_usable_size(p), 65536);
    help_verify();
}
END_TEST

START_TEST(a_mapping_grows_by_moving_pages_and_shrinks_in_place)
{
    unsigned char *p = alloc_malloc(3 * MIB);
    void *other = alloc_malloc(5 * MIB), *q;
    memset(p, 7, 3 * MIB);
    ck_assert_int_eq(alloc_realloc(p, 64 * MIB, &q), ALLOC_OK);
    ck_assert(all_bytes(q, 3 * MIB, 7));
    ck_assert_uint_ge(alloc_usable_size(q), 64 * MIB);
    help_verify();
    p = q;
    ck_assert_int_eq(alloc_realloc(p, 3 * MIB, &q), ALLOC_OK);
    ck_assert_ptr_eq(p, q);
    ck_assert(!alloc_is_ours(p + 5 * MIB));
    help_verify();
    ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    ck_assert_int_eq(alloc_free(other), ALLOC_OK);
    help_verify();
}
END_TEST

/* --- ledger --------------------------------------------------------------------------------------------- */

static void *ledger_of(void *p)
{
    struct alloc_block block;
    ck_assert_int_eq(alloc_find(p, &block), ALLOC_OK);
    ck_assert_ptr_eq(block.start, p);
    return block.ledger;
}

START_TEST(ledger_entries_arrive_zeroed_stay_and_outlive_the_free)
{
    void *before = alloc_malloc(48);
    ck_assert_ptr_null(ledger_of(before));
    alloc_keep_ledger();
    ck_assert_ptr_null(alloc_malloc_fast(48)); /* it could not clear the entry */
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < EDGES; i++) {
            void *p = alloc_malloc(edges[i]);
            unsigned char *entry = ledger_of(p);
            ck_assert_ptr_nonnull(entry);
            ck_assert(all_bytes(entry, ALLOC_LEDGER_BYTES, 0));
            memset(entry, 0x11, ALLOC_LEDGER_BYTES);
            ck_assert_ptr_eq(ledger_of(p), entry);
            ck_assert_int_eq(alloc_free(p), ALLOC_OK);
            if (edges[i] <= 32768)
                ck_assert(all_bytes(entry, ALLOC_LEDGER_BYTES, 0x11));
        }
    }
    ck_assert_int_eq(alloc_free(before), ALLOC_OK);
    help_verify();
}
END_TEST

START_TEST(a_ledger_entry_stays_with_a_block_that_stays_and_is_new_with_one_that_moves)
{
    alloc_keep_ledger();
    void *p = alloc_malloc(1000), *q;
    memset(ledger_of(p), 0x22, ALLOC_LEDGER_BYTES);
    ck_assert_int_eq(alloc_realloc(p, 990, &q), ALLOC_OK);
    ck_assert_ptr_eq(p, q);
    ck_assert(all_bytes(ledger_of(q), ALLOC_LEDGER_BYTES, 0x22));
    ck_assert_int_eq(alloc_realloc(p, 3000, &q), ALLOC_OK);
    ck_assert_ptr_ne(p, q);
    ck_assert(all_bytes(ledger_of(q), ALLOC_LEDGER_BYTES, 0));
    void *large = alloc_malloc(3 * MIB), *wall = alloc_malloc(3 * MIB), *moved;
    memset(ledger_of(large), 0x33, ALLOC_LEDGER_BYTES);
    ck_assert_int_eq(alloc_realloc(large, 40 * MIB, &moved), ALLOC_OK);
    ck_assert(all_bytes(ledger_of(moved), ALLOC_LEDGER_BYTES, large == moved ? 0x33 : 0));
    alloc_free(wall);
}
END_TEST

/* --- giving pools and ledgers back does not grow metadata ----------------------------------------------- */

START_TEST(repeated_work_does_not_grow_metadata)
{
    struct alloc_stats before, after;
    static void *p[20000];
    alloc_keep_ledger();
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 20000; i++)
            p[i] = alloc_malloc((size_t)(i % 700) + 1);
        for (int i = 0; i < 20000; i++)
            alloc_free(p[i]);
        alloc_purge();
        if (round == 1)
            alloc_stats_read(&before);
    }
    alloc_stats_read(&after);
    ck_assert_uint_le(after.metadata, before.metadata);
    ck_assert_uint_eq(after.live_blocks, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("allocator");
    TCase *tests = tcase_create("one thread");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_edge_size_is_aligned_usable_and_freed);
    tcase_add_test(tests, too_large_is_null_and_errno_is_left_alone);
    tcase_add_test(tests, every_alignment_holds_for_many_sizes);
    if (!HELP_TSAN)
        tcase_add_test(tests, alignment_of_a_gibibyte);
    tcase_add_test(tests, reused_blocks_are_zeroed_when_asked);
    tcase_add_test(tests, the_fast_paths_serve_small_blocks_and_leave_the_rest);
    tcase_add_test(tests, interception_makes_the_fast_paths_miss);
    tcase_add_test(tests, realloc_keeps_the_content_between_all_kinds);
    tcase_add_test(tests, a_span_grows_and_shrinks_in_place);
    tcase_add_test(tests, a_mapping_grows_by_moving_pages_and_shrinks_in_place);
    tcase_add_test(tests, ledger_entries_arrive_zeroed_stay_and_outlive_the_free);
    tcase_add_test(tests, a_ledger_entry_stays_with_a_block_that_stays_and_is_new_with_one_that_moves);
    tcase_add_test(tests, repeated_work_does_not_grow_metadata);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
