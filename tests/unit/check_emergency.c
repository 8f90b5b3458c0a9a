/* SPDX-License-Identifier: MIT */
/* check_emergency.c - what a signal handler gets while its own thread stands in the allocator. */
#include "allocator/emergency.h"

#include <pthread.h>

#include "allocator/find.h"
#include "allocator/nested.h"
#include "allocator/state.h"

#include "tests/unit/alloc_help.h"

#define MIB ((size_t)1 << 20)

/* What an interrupted slow path looks like to a handler. */
static void hold_lock(void)
{
    state_lock(LOCK_ARENA);
}

static void release_lock(void)
{
    state_unlock(LOCK_ARENA);
}

static bool all_are(const unsigned char *p, size_t size, unsigned value)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] != (unsigned char)value)
            return false;
    return true;
}

/* Not in a chunk or mapping of the ordinary paths, which would have waited for the lock for ever. */
static bool is_emergency(const void *p)
{
    struct place place;
    return place_find((uintptr_t)p, &place) == ALLOC_OK && place.kind == PLACE_EMERGENCY;
}

START_TEST(all_sizes_are_served_while_a_lock_is_held)
{
    static const size_t sizes[] = {0, 1, 16, 17, 100, 1000, 32768, 40000, MIB, 3 * MIB, 100 * MIB};
    unsigned char *blocks[11];
    (void)alloc_malloc(100);
    hold_lock();
    for (int i = 0; i < 11; i++) {
        blocks[i] = i % 2 ? alloc_malloc_zeroed(sizes[i]) : alloc_malloc(sizes[i]);
        ck_assert_ptr_nonnull(blocks[i]);
        ck_assert(is_emergency(blocks[i]));
        ck_assert_uint_eq((uintptr_t)blocks[i] % 16, 0);
        ck_assert_uint_ge(alloc_usable_size(blocks[i]), sizes[i]);
        memset(blocks[i], i + 1, sizes[i] < MIB ? sizes[i] : MIB);
    }
    for (int i = 0; i < 11; i++) {
        ck_assert(all_are(blocks[i], sizes[i] < MIB ? sizes[i] : MIB, (unsigned)i + 1));
        ck_assert_int_eq(alloc_free(blocks[i]), ALLOC_OK);
    }
    release_lock();
    help_verify();
}
END_TEST

START_TEST(alignment_is_kept)
{
    hold_lock();
    for (size_t alignment = 32; alignment <= 64 * MIB; alignment *= 2) {
        void *p = alloc_malloc_aligned(alignment, 100), *q = alloc_malloc(24);
        ck_assert_uint_eq((uintptr_t)p % alignment, 0);
        ck_assert(is_emergency(p));
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
        ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    }
    release_lock();
}
END_TEST

START_TEST(the_region_is_reused_when_its_last_block_is_freed)
{
    hold_lock();
    void *first = emergency_alloc(1000, 16, false), *second = emergency_alloc(1000, 16, false);
    memset(first, 0xff, 1000);
    ck_assert_int_eq(alloc_free(first), ALLOC_OK);
    ck_assert_ptr_ne(emergency_alloc(1000, 16, false), first);
    ck_assert_int_eq(alloc_free(second), ALLOC_OK);
    for (int i = 0; i < 100000; i++) {
        void *p = emergency_alloc(1000, 16, false);
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    }
    release_lock();
    ck_assert_int_lt(help_rss_kb(), HELP_ASAN || HELP_TSAN ? 1000000 : 200000);
}
END_TEST

START_TEST(zeroed_blocks_are_zero_on_reuse)
{
    hold_lock();
    for (int i = 0; i < 3; i++) {
        unsigned char *p = alloc_malloc_zeroed(5000);
        ck_assert(all_are(p, 5000, 0));
        memset(p, 0xff, 5000);
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    }
    release_lock();
}
END_TEST

START_TEST(wrong_frees_are_told)
{
    struct alloc_block block;
    hold_lock();
    unsigned char *p = alloc_malloc(100), *q = alloc_malloc(200), *big = alloc_malloc(3 * MIB);
    memset(p, 0, 100);
    memset(q, 0, 200);
    ck_assert_int_eq(alloc_free(q + 16), ALLOC_INTERIOR);
    ck_assert_int_eq(alloc_find(q + 150, &block), ALLOC_INTERIOR);
    ck_assert_ptr_eq(block.start, q);
    ck_assert_ptr_null(block.ledger);
    ck_assert_int_eq(alloc_free(q - 16), ALLOC_INTERIOR);
    ck_assert_int_eq(alloc_free(big + 2 * MIB), ALLOC_INTERIOR);
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    ck_assert_int_eq(alloc_free(p), ALLOC_DOUBLE_FREE);
    ck_assert_int_eq(alloc_free(big), ALLOC_OK);
    ck_assert_int_eq(alloc_free(big), ALLOC_FOREIGN);
    ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    ck_assert_int_eq(alloc_free(q), ALLOC_DOUBLE_FREE);
    release_lock();
}
END_TEST

START_TEST(realloc_takes_a_block_into_the_emergency_and_out_again)
{
    void *p = alloc_malloc(100), *q, *r;
    memset(p, 7, 100);
    hold_lock();
    ck_assert_int_eq(alloc_realloc(p, 3000, &q), ALLOC_OK);
    ck_assert(is_emergency(q));
    ck_assert_int_eq(((unsigned char *)q)[99], 7);
    ck_assert_int_eq(alloc_realloc(q, 2500, &r), ALLOC_OK);
    ck_assert_ptr_eq(q, r);
    release_lock();
    ck_assert_int_eq(alloc_realloc(q, 9 * MIB, &r), ALLOC_OK);
    ck_assert(!is_emergency(r));
    ck_assert_int_eq(((unsigned char *)r)[99], 7);
    ck_assert_int_eq(alloc_free(r), ALLOC_OK);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

static bool add_capacity(void *ctx, const struct walk_block *block)
{
    *(uint64_t *)ctx += block->capacity;
    return true;
}

START_TEST(the_walker_sees_live_ones_only)
{
    uint64_t bytes = 0;
    struct walk_visitor visitor = {.block = add_capacity, .complain = help_complain, .ctx = &bytes};
    hold_lock();
    void *gone = alloc_malloc(5000), *big = alloc_malloc(3 * MIB);
    (void)alloc_malloc_aligned(1024, 64);
    (void)alloc_malloc(100);
    ck_assert_int_eq(alloc_free(gone), ALLOC_OK);
    release_lock();
    ck_assert_uint_eq(help_live(), 3);
    ck_assert_int_eq(walk_allocator(&help_self, (uintptr_t)alloc_root(), &visitor), WALK_OK);
    ck_assert_uint_ge(bytes, 3 * MIB + 164);
    ck_assert_int_eq(alloc_free(big), ALLOC_OK);
    ck_assert_uint_eq(help_live(), 2);
}
END_TEST

START_TEST(frees_of_large_blocks_wait_for_the_lock)
{
    void *span = alloc_malloc(100000), *mapping = alloc_malloc(5 * MIB), *small = alloc_malloc(40);
    hold_lock();
    ck_assert_int_eq(alloc_free(span), ALLOC_OK);
    ck_assert_int_eq(alloc_free(mapping), ALLOC_OK);
    ck_assert_int_eq(alloc_free(small), ALLOC_OK);
    release_lock();
    void *other = alloc_malloc(200000);
    ck_assert_int_eq(alloc_free(other), ALLOC_OK);
    ck_assert_uint_eq(help_live(), 0);
    help_verify();
}
END_TEST

/* --- the bracket ---------------------------------------------------------------------------------------- */

/* As the handler of a signal that came here. */
static const struct alloc_stack *stack_here(struct alloc_stack *stack)
{
    *stack = (struct alloc_stack){(uintptr_t)__builtin_frame_address(0), 0, 0};
    return stack;
}

START_TEST(the_bracket_keeps_the_own_heap_out_of_it)
{
    struct alloc_stack stack;
    struct alloc_nested nested;
    void *own = alloc_malloc(64), *p[100];
    struct heap *heap = alloc_heap;
    ck_assert(!alloc_is_interrupted());
    alloc_nested_begin(stack_here(&stack), &nested);
    ck_assert(alloc_is_interrupted());
    ck_assert_ptr_eq(alloc_heap, SENTINEL_HEAP);
    for (int i = 0; i < 100; i++)
        p[i] = alloc_malloc((size_t)i * 500);
    ck_assert_int_eq(alloc_free(own), ALLOC_OK);
    ck_assert_int_eq(alloc_free(own), ALLOC_DOUBLE_FREE);
    alloc_nested_end(&nested);
    ck_assert_ptr_eq(alloc_heap, heap);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(alloc_free(p[i]), ALLOC_OK);
    ck_assert_uint_eq(help_live(), 0);
    help_verify();
}
END_TEST

START_TEST(a_bracket_in_a_bracket_ends_with_its_own)
{
    struct alloc_stack stack;
    struct alloc_nested outer, inner;
    (void)alloc_malloc(64);
    struct heap *heap = alloc_heap;
    alloc_nested_begin(stack_here(&stack), &outer);
    alloc_nested_begin(stack_here(&stack), &inner);
    alloc_nested_end(&inner);
    ck_assert_ptr_eq(alloc_heap, SENTINEL_HEAP);
    ck_assert(alloc_is_interrupted());
    alloc_nested_end(&outer);
    ck_assert_ptr_eq(alloc_heap, heap);
    ck_assert(!alloc_is_interrupted());
}
END_TEST

static __attribute__((noinline)) void open_bracket(volatile char *room, void (*in_it)(void))
{
    struct alloc_stack stack;
    struct alloc_nested nested;
    alloc_nested_begin(stack_here(&stack), &nested);
    ck_assert_int_eq(alloc_nested_heal(), ALLOC_NOT_LEFT);
    in_it();
    room[0]++;
}

/* A handler that does not come back: begins the bracket deep in the stack, and leaves it open. */
static __attribute__((noinline)) void handler_that_jumps(void (*in_it)(void))
{
    volatile char room[4096] = {0};
    open_bracket(room, in_it);
    ck_assert_int_eq(room[0], 1);
}

static void nothing(void)
{
}

START_TEST(a_handler_that_was_left_costs_the_heap_and_no_block)
{
    void *p[200];
    for (int i = 0; i < 200; i++)
        p[i] = alloc_malloc((size_t)i * 30);
    struct heap *heap = alloc_own_heap;
    store_relaxed(&heap->busy, 1);
    handler_that_jumps(nothing);
    ck_assert_int_eq(alloc_nested_heal(), ALLOC_HEALED);
    ck_assert(!alloc_is_interrupted());
    void *after = alloc_malloc(100);
    ck_assert_ptr_nonnull(after);
    ck_assert_uint_eq(help_live(), 201);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(alloc_free(p[i]), ALLOC_OK);
    ck_assert_int_eq(alloc_free(after), ALLOC_OK);
    for (int i = 0; i < 200; i++)
        (void)alloc_malloc((size_t)i * 30);
    help_verify();
}
END_TEST

START_TEST(with_a_lock_held_by_what_was_left_the_thread_lives_on)
{
    void *before = alloc_malloc(100), *large = alloc_malloc(100000);
    handler_that_jumps(hold_lock);
    ck_assert_int_eq(alloc_nested_heal(), ALLOC_LEFT_LOCKED);
    for (int i = 0; i < 1000; i++) {
        void *p = alloc_malloc((size_t)i * 100);
        ck_assert_ptr_nonnull(p);
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    }
    ck_assert_int_eq(alloc_free(before), ALLOC_OK);
    ck_assert_int_eq(alloc_free(large), ALLOC_OK);
    ck_assert(!alloc_purge());
}
END_TEST

/* --- threads -------------------------------------------------------------------------------------------- */

static void *contend(void *arg)
{
    uint64_t random = (uintptr_t)arg * 7919 + 1;
    unsigned char *p[16] = {NULL};
    size_t size[16] = {0};
    for (int i = 0; i < 20000; i++) {
        unsigned at = help_random(&random) % 16;
        ck_assert(p[at] == NULL || all_are(p[at], size[at], (unsigned)(at + (uintptr_t)arg * 16)));
        ck_assert(p[at] == NULL || alloc_free(p[at]) == ALLOC_OK);
        size[at] = help_random(&random) % 300;
        p[at] = emergency_alloc(size[at], 16, false);
        memset(p[at], (int)(at + (uintptr_t)arg * 16), size[at]);
    }
    for (int i = 0; i < 16; i++)
        ck_assert(p[i] == NULL || alloc_free(p[i]) == ALLOC_OK);
    return NULL;
}

START_TEST(threads_share_a_region_without_a_lock)
{
    pthread_t thread[4];
    for (uintptr_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, contend, (void *)i), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

/* Each kernel call in turn fails. */
START_TEST(out_of_memory_is_null_and_breaks_nothing)
{
    for (uint64_t n = 1; n < 6; n++) {
        hold_lock();
        platform_fail_nth(n);
        void *small = alloc_malloc(100), *large = alloc_malloc(3 * MIB);
        if (small != NULL)
            ck_assert_int_eq(alloc_free(small), ALLOC_OK);
        if (large != NULL)
            ck_assert_int_eq(alloc_free(large), ALLOC_OK);
        platform_fail_nth(0);
        release_lock();
        help_verify();
    }
    hold_lock();
    ck_assert_ptr_null(alloc_malloc((size_t)PTRDIFF_MAX - 100));
    release_lock();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("emergency");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, all_sizes_are_served_while_a_lock_is_held);
    tcase_add_test(tc, alignment_is_kept);
    tcase_add_test(tc, the_region_is_reused_when_its_last_block_is_freed);
    tcase_add_test(tc, zeroed_blocks_are_zero_on_reuse);
    tcase_add_test(tc, wrong_frees_are_told);
    tcase_add_test(tc, realloc_takes_a_block_into_the_emergency_and_out_again);
    tcase_add_test(tc, the_walker_sees_live_ones_only);
    tcase_add_test(tc, frees_of_large_blocks_wait_for_the_lock);
    tcase_add_test(tc, the_bracket_keeps_the_own_heap_out_of_it);
    tcase_add_test(tc, a_bracket_in_a_bracket_ends_with_its_own);
    tcase_add_test(tc, a_handler_that_was_left_costs_the_heap_and_no_block);
    tcase_add_test(tc, with_a_lock_held_by_what_was_left_the_thread_lives_on);
    tcase_add_test(tc, threads_share_a_region_without_a_lock);
    tcase_add_test(tc, out_of_memory_is_null_and_breaks_nothing);
    suite_add_tcase(suite, tc);
    return help_run(suite);
}
