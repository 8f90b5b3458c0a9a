/* SPDX-License-Identifier: MIT */
/* The look-up against the plain definition, over heaps made at random; and which interior pointers are accepted. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/image/finder.h"
#include "tracer/image/interior.h"

#define BLOCKS 600u

static uint32_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

/* --- finder ----------------------------------------------------------------------------------------------------- */

struct heap {
    struct image_block blocks[BLOCKS];
    uint64_t pools[BLOCKS];
    uint32_t count;
};

static void add(struct heap *heap, uint64_t addr, uint64_t capacity, uint64_t pool)
{
    heap->blocks[heap->count] = (struct image_block){.addr = addr, .size = capacity, .capacity = capacity};
    heap->pools[heap->count++] = pool;
}

/* Pools with holes, spans, huge blocks, and (at times) what no sane allocator makes: odd places in a pool. */
static void make_heap(struct heap *heap, uint32_t seed)
{
    static const uint64_t capacities[] = {16, 48, 64, 80, 112, 320, 1024, 5376};
    uint64_t at = UINT64_C(0x10000000000) + draw(64) * (UINT64_C(1) << 22);
    random_state = seed;
    heap->count = 0;
    while (heap->count < BLOCKS - 300) {
        uint32_t what = draw(10);
        if (what < 7) {
            uint64_t capacity = capacities[draw(8)], odd = what == 0 && capacity > 16 ? 16 : 0;
            for (uint64_t i = 0; i < 16384 / capacity && heap->count < BLOCKS - 2; i++)
                if (draw(3))
                    add(heap, at + i * capacity + (odd && draw(4) == 0 ? odd : 0),
                        odd ? capacity - odd : capacity, at);
            at += 16384;
        } else if (what < 9) {
            uint64_t slots = 1 + draw(20);
            add(heap, at, slots * 16384, at);
            at += slots * 16384;
        } else {
            at = (at + (UINT64_C(1) << 22)) & ~((UINT64_C(1) << 22) - 1);
            add(heap, at, (UINT64_C(1) << 22) * (1 + draw(5)) + 4096 * draw(1000), at);
            at = (at + heap->blocks[heap->count - 1].capacity + (UINT64_C(1) << 22)) &
                 ~((UINT64_C(1) << 22) - 1);
        }
        if (draw(8) == 0)
            at += UINT64_C(16384) * draw(100000);
    }
}

static uint32_t find_plainly(const struct heap *heap, uint64_t value)
{
    for (uint32_t i = 0; i < heap->count; i++)
        if (value >= heap->blocks[i].addr && value - heap->blocks[i].addr < heap->blocks[i].capacity)
            return i;
    return FINDER_NONE;
}

static void check_value(const struct finder *finder, const struct heap *heap, uint64_t value)
{
    uint64_t offset = 0;
    uint32_t expected = find_plainly(heap, value), found = finder_find(finder, value, &offset);
    if (found != expected || (found != FINDER_NONE && heap->blocks[found].addr + offset != value))
        ck_abort_msg("%llx: %u, expected %u", (unsigned long long)value, found, expected);
}

START_TEST(every_edge_of_every_block_is_found_as_defined)
{
    static struct finder finder;
    static struct heap heap;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        make_heap(&heap, seed);
        ck_assert(finder_build(&finder, heap.blocks, heap.pools, heap.count));
        for (uint32_t i = 0; i < heap.count; i++) {
            const struct image_block *block = &heap.blocks[i];
            const uint64_t values[] = {block->addr - 1,
                                       block->addr,
                                       block->addr + 1,
                                       block->addr + draw((uint32_t)block->capacity),
                                       block->addr + block->capacity - 1,
                                       block->addr + block->capacity};
            for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++)
                check_value(&finder, &heap, values[j]);
        }
        finder_free(&finder);
    }
}
END_TEST

START_TEST(values_far_from_all_blocks_are_no_pointers)
{
    static struct finder finder;
    static struct heap heap;
    uint64_t offset;
    make_heap(&heap, 7);
    ck_assert(finder_build(&finder, heap.blocks, heap.pools, heap.count));
    for (unsigned bit = 0; bit < 64; bit++)
        check_value(&finder, &heap, UINT64_C(1) << bit);
    ck_assert_uint_eq(finder_find(&finder, 0, &offset), FINDER_NONE);
    ck_assert_uint_eq(finder_find(&finder, UINT64_MAX, &offset), FINDER_NONE);
    finder_free(&finder);
    ck_assert(finder_build(&finder, NULL, NULL, 0));
    ck_assert_uint_eq(finder_find(&finder, 0, &offset), FINDER_NONE);
    finder_free(&finder);
}
END_TEST

START_TEST(blocks_beyond_the_address_space_are_left_out)
{
    static struct finder finder;
    static struct heap heap;
    uint64_t offset;
    heap.count = 0;
    add(&heap, 0x10000, 16384, 0x10000);
    add(&heap, UINT64_C(1) << 47, 16384, UINT64_C(1) << 47);
    ck_assert(finder_build(&finder, heap.blocks, heap.pools, heap.count));
    ck_assert_uint_eq(finder_find(&finder, 0x10008, &offset), 0);
    ck_assert_uint_eq(finder_find(&finder, UINT64_C(1) << 47, &offset), FINDER_NONE);
    finder_free(&finder);
}
END_TEST

/* --- interior pointers ------------------------------------------------------------------------------------------ */

#define BASE   UINT64_C(0x500000)
#define VTABLE UINT64_C(0x900010)

/* One page of a target at BASE. */
struct page {
    uint64_t words[512];
};

static size_t page_read(void *ctx, uint64_t addr, void *buf, size_t len)
{
    const struct page *page = ctx;
    if (addr < BASE || addr >= BASE + sizeof(*page))
        return 0;
    size_t room = (size_t)(BASE + sizeof(*page) - addr);
    len = len < room ? len : room;
    memcpy(buf, (const char *)page->words + (addr - BASE), len);
    return len;
}

static struct page page;
static struct memory memory;
static struct ranges constant;
static uint64_t tls_words[] = {0x7000, 0x7fff00000708};
static struct interior interior;

static void set_up(void)
{
    static const struct memory_source source = {.name = "page", .read = page_read, .ctx = &page};
    memset(&page, 0, sizeof(page));
    ck_assert(memory_open(&memory, &source, BASE));
    ck_assert(ranges_insert(&constant, 0x900000, 0x901000));
    interior = (struct interior){&memory, &constant, tls_words, 2};
}

static void tear_down(void)
{
    memory_close(&memory);
    ranges_free(&constant);
}

/* A block of `size` bytes at BASE, pointed into at `offset` from a global. */
static bool accepted(uint64_t size, uint64_t offset)
{
    const struct image_block block = {.addr = BASE, .size = size, .capacity = (size + 15) & ~UINT64_C(15)};
    memory_close(&memory); /* and with it the cache: the page has changed */
    ck_assert(memory_open(&memory, &(const struct memory_source){.read = page_read, .ctx = &page}, BASE));
    return interior_is_accepted(&interior, &block, offset, 0x404040, NULL);
}

START_TEST(a_count_that_divides_the_rest_makes_an_array)
{
    page.words[0] = 5;
    ck_assert(accepted(8 + 5 * 24, 8));
    page.words[0] = 1;
    ck_assert(accepted(8 + 24, 8));
    page.words[0] = 0;
    page.words[1] = 3;
    ck_assert(accepted(16 + 3 * 32, 16));
}
END_TEST

START_TEST(a_count_that_does_not_divide_or_is_elsewhere_makes_none)
{
    page.words[0] = 5;
    ck_assert(!accepted(8 + 5 * 24 + 1, 8));
    ck_assert(!accepted(8 + 5 * 24, 16));
    ck_assert(!accepted(8 + 5 * 24, 24));
    page.words[0] = 0;
    ck_assert(!accepted(8 + 24, 8));
    page.words[0] = UINT64_MAX;
    ck_assert(!accepted(8 + 24, 8));
}
END_TEST

START_TEST(an_array_of_none_is_held_by_its_end)
{
    ck_assert(accepted(8, 8));
    page.words[0] = 2;
    ck_assert(!accepted(8, 8));
}
END_TEST

START_TEST(two_vtables_make_a_base_subobject)
{
    page.words[0] = VTABLE;
    page.words[3] = VTABLE + 0x40;
    ck_assert(accepted(64, 24));
}
END_TEST

START_TEST(one_vtable_or_a_writable_one_makes_none)
{
    page.words[3] = VTABLE;
    ck_assert(!accepted(64, 24));
    page.words[0] = VTABLE + 4;
    ck_assert(!accepted(64, 24));
    page.words[0] = 0x902000;
    ck_assert(!accepted(64, 24));
    page.words[0] = VTABLE;
    page.words[8] = VTABLE;
    ck_assert(!accepted(64, 64)); /* what stands behind the block is not the block's */
}
END_TEST

START_TEST(length_capacity_and_sharers_make_a_string)
{
    page.words[0] = 10;
    page.words[1] = 39;
    ck_assert(accepted(24 + 40, 24));
    page.words[2] = 0xffffffff; /* -1: may not be shared */
    ck_assert(accepted(24 + 40, 24));
    page.words[1] = 9;
    page.words[0] = 9;
    ck_assert(accepted(24 + 4 * 10, 24)); /* wide characters */
}
END_TEST

START_TEST(numbers_that_do_not_fit_the_block_make_no_string)
{
    page.words[0] = 40;
    page.words[1] = 39;
    ck_assert(!accepted(24 + 40, 24)); /* longer than its capacity */
    page.words[0] = 10;
    ck_assert(!accepted(24 + 41, 24));
    ck_assert(!accepted(24 + 40, 16));
    page.words[2] = 0x80000000;
    ck_assert(!accepted(24 + 40, 24));
}
END_TEST

START_TEST(a_tree_node_s_left_link_may_carry_its_colour)
{
    const struct image_block block = {.addr = BASE, .size = 24, .capacity = 32};
    const struct image_block holder = {.addr = BASE + 256, .size = 24, .capacity = 32};
    const struct image_block other = {.addr = BASE + 256, .size = 32, .capacity = 32};
    ck_assert(interior_is_accepted(&interior, &block, 1, holder.addr + 8, &holder));
    ck_assert(!interior_is_accepted(&interior, &block, 1, holder.addr + 16, &holder));
    ck_assert(!interior_is_accepted(&interior, &block, 2, holder.addr + 8, &holder));
    ck_assert(!interior_is_accepted(&interior, &block, 1, other.addr + 8, &other));
    ck_assert(!interior_is_accepted(&interior, &block, 1, 0x404040, NULL));
}
END_TEST

START_TEST(a_tls_table_is_held_from_its_thread_s_word_only)
{
    const struct image_block block = {.addr = BASE, .size = 1040, .capacity = 1088};
    page.words[1] = 7; /* 1024 % 7 != 0: not an array by chance */
    ck_assert(interior_is_accepted(&interior, &block, 16, 0x7000, NULL));
    ck_assert(interior_is_accepted(&interior, &block, 16, 0x7fff00000708, NULL));
    ck_assert(!interior_is_accepted(&interior, &block, 16, 0x7008, NULL));
    ck_assert(!interior_is_accepted(&interior, &block, 24, 0x7000, NULL));
}
END_TEST

START_TEST(a_block_that_cannot_be_read_accepts_nothing)
{
    const struct image_block block = {.addr = 0x600000, .size = 64, .capacity = 64};
    for (uint64_t offset = 1; offset <= 64; offset++)
        ck_assert(!interior_is_accepted(&interior, &block, offset, 0x404040, NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("image_finder");
    TCase *finding = tcase_create("finder"), *inside = tcase_create("interior");
    tcase_add_test(finding, every_edge_of_every_block_is_found_as_defined);
    tcase_add_test(finding, values_far_from_all_blocks_are_no_pointers);
    tcase_add_test(finding, blocks_beyond_the_address_space_are_left_out);
    tcase_set_timeout(finding, 60);
    tcase_add_checked_fixture(inside, set_up, tear_down);
    tcase_add_test(inside, a_count_that_divides_the_rest_makes_an_array);
    tcase_add_test(inside, a_count_that_does_not_divide_or_is_elsewhere_makes_none);
    tcase_add_test(inside, an_array_of_none_is_held_by_its_end);
    tcase_add_test(inside, two_vtables_make_a_base_subobject);
    tcase_add_test(inside, one_vtable_or_a_writable_one_makes_none);
    tcase_add_test(inside, length_capacity_and_sharers_make_a_string);
    tcase_add_test(inside, numbers_that_do_not_fit_the_block_make_no_string);
    tcase_add_test(inside, a_tree_node_s_left_link_may_carry_its_colour);
    tcase_add_test(inside, a_tls_table_is_held_from_its_thread_s_word_only);
    tcase_add_test(inside, a_block_that_cannot_be_read_accepts_nothing);
    suite_add_tcase(suite, finding);
    suite_add_tcase(suite, inside);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
