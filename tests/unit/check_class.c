/* SPDX-License-Identifier: MIT */
/* check_class.c - the table of size classes keeps its promises. */
#include "allocator/class.h"

#include "tests/unit/alloc_help.h"

START_TEST(every_size_has_the_smallest_class_that_holds_it)
{
    for (size_t size = 0; size <= POOL_SIZE_MAX; size++) {
        unsigned class = class_of(size);
        ck_assert_uint_lt(class, CLASS_COUNT);
        ck_assert_uint_ge(alloc_class[class].size, size);
        if (class > 0)
            ck_assert_uint_lt(alloc_class[class - 1].size, size);
    }
}
END_TEST

START_TEST(slack_is_at_most_an_eighth_past_128_bytes)
{
    for (size_t size = 129; size <= POOL_SIZE_MAX; size++)
        ck_assert_uint_le((alloc_class[class_of(size)].size - size) * 8, alloc_class[class_of(size)].size);
}
END_TEST

START_TEST(every_pool_is_well_cut)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct size_class *row = &alloc_class[class];
        size_t bytes = (size_t)row->slots << SLOT_SHIFT;
        ck_assert_uint_eq(row->size % 16, 0);
        size_t capacity = bytes / row->size;
        ck_assert_uint_le(capacity, POOL_CAPACITY_MAX);
        ck_assert_uint_ge(capacity, 3);
        ck_assert_uint_le(row->slots, POOL_SLOTS_MAX);
        ck_assert_uint_le((bytes - capacity * row->size) * 16, bytes);
        ck_assert_uint_le(class_slots_least(class), row->slots);
        ck_assert(class_slots_serve(class, row->slots));
        if (row->size <= 256)
            ck_assert_uint_eq(row->slots, 1);
    }
}
END_TEST

START_TEST(division_is_exact_for_every_offset)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct size_class *row = &alloc_class[class];
        for (uint32_t offset = 0; offset < (uint32_t)row->slots << SLOT_SHIFT; offset++) {
            uint32_t index = (uint32_t)(((unsigned __int128)offset * row->divisor) >> 64);
            bool multiple = (uint64_t)offset * row->divisor < row->divisor;
            if (index != offset / row->size || multiple != (offset % row->size == 0))
                ck_abort_msg("offset %u of class %u", offset, row->size);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("class");
    TCase *tests = tcase_create("table");
    tcase_add_test(tests, every_size_has_the_smallest_class_that_holds_it);
    tcase_add_test(tests, slack_is_at_most_an_eighth_past_128_bytes);
    tcase_add_test(tests, every_pool_is_well_cut);
    tcase_add_test(tests, division_is_exact_for_every_offset);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
