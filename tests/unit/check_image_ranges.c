/* SPDX-License-Identifier: MIT */
/* Sets of addresses against a model of one flag per address; the text of maps, line by line. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/image/maps.h"
#include "tracer/image/ranges.h"

#define SPACE 512u

static uint32_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

struct model {
    bool in[SPACE];
};

static void model_set(struct model *model, uint64_t start, uint64_t end)
{
    for (uint64_t i = start; i < end; i++)
        model->in[i] = true;
}

/* Ascending, disjoint, not touching, none empty, and exactly the model's. */
static void check_is_normal_and_equal(const struct ranges *set, const struct model *model)
{
    uint64_t last_end = 0;
    struct model seen = {0};
    for (size_t i = 0; i < set->count; i++) {
        ck_assert(set->items[i].start < set->items[i].end);
        ck_assert(i == 0 || set->items[i].start > last_end);
        last_end = set->items[i].end;
        model_set(&seen, set->items[i].start, set->items[i].end);
    }
    ck_assert(memcmp(&seen, model, sizeof(seen)) == 0);
    for (uint64_t addr = 0; addr < SPACE; addr++)
        if ((ranges_find(set, addr) != NULL) != model->in[addr])
            ck_abort_msg("address %u", (unsigned)addr);
}

static bool clear_outside(void *ctx, uint64_t start, uint64_t end)
{
    struct model *left = ctx;
    ck_assert(start < end);
    for (uint64_t i = start; i < end; i++) {
        if (left->in[i])
            ck_abort_msg("address %u came twice", (unsigned)i);
        left->in[i] = true;
    }
    return true;
}

static void check_outside(const struct ranges *set, const struct model *model)
{
    uint64_t start = draw(SPACE), end = start + draw(SPACE - (uint32_t)start);
    struct model outside = {0};
    ck_assert(ranges_outside(set, start, end, clear_outside, &outside));
    for (uint64_t i = 0; i < SPACE; i++)
        if (outside.in[i] != (i >= start && i < end && !model->in[i]))
            ck_abort_msg("address %u", (unsigned)i);
}

START_TEST(random_sets_equal_a_model_however_they_are_built)
{
    for (uint32_t seed = 1; seed <= 400; seed++) {
        struct ranges added = {0}, inserted = {0};
        struct model model = {0};
        random_state = seed;
        for (uint32_t n = draw(24); n > 0; n--) {
            uint64_t start = draw(SPACE), end = start + draw(40);
            end = end < SPACE ? end : SPACE;
            ck_assert(ranges_add(&added, start, end) && ranges_insert(&inserted, start, end));
            model_set(&model, start, end);
            check_is_normal_and_equal(&inserted, &model);
        }
        ranges_normalize(&added);
        check_is_normal_and_equal(&added, &model);
        for (int i = 0; i < 10; i++)
            check_outside(&added, &model);
        ranges_free(&added);
        ranges_free(&inserted);
    }
}
END_TEST

static bool stop_at_once(void *ctx, uint64_t start, uint64_t end)
{
    (void)start;
    (void)end;
    ++*(int *)ctx;
    return false;
}

START_TEST(a_callback_that_says_stop_is_not_called_again)
{
    struct ranges set = {0};
    int calls = 0;
    ck_assert(ranges_insert(&set, 10, 20) && ranges_insert(&set, 30, 40));
    ck_assert(!ranges_outside(&set, 0, 100, stop_at_once, &calls));
    ck_assert_int_eq(calls, 1);
    ranges_free(&set);
}
END_TEST

START_TEST(inverted_and_empty_ranges_add_nothing)
{
    struct ranges set = {0};
    ck_assert(ranges_add(&set, 5, 5) && ranges_insert(&set, 9, 3));
    ck_assert_uint_eq(set.count, 0);
    ranges_free(&set);
}
END_TEST

/* --- maps ------------------------------------------------------------------------------------------------------- */

START_TEST(every_field_of_a_line_is_read)
{
    struct maps maps;
    ck_assert(maps_parse(
        strdup("00400000-00402000 r-xp 00001000 fe:01 1234                  /usr/bin/a b (deleted)\n"
               "7f0000000000-7f0000001000 rw-s 00000000 00:05 7 /dev/shm/x\n"
               "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]\n"),
        &maps));
    ck_assert_uint_eq(maps.count, 3);
    ck_assert_uint_eq(maps.refused, 0);
    const struct map *first = &maps.items[0];
    ck_assert(first->start == 0x400000 && first->end == 0x402000 && first->offset == 0x1000);
    ck_assert(first->inode == 1234 && first->device == (UINT64_C(0xfe) << 32 | 1));
    ck_assert(first->readable && !first->writable && first->executable && !first->shared);
    ck_assert_str_eq(first->name, "/usr/bin/a b (deleted)");
    ck_assert(map_is_file(first) && maps.items[1].shared && !map_is_file(&maps.items[2]));
    ck_assert_ptr_eq(maps_find(&maps, 0x401fff), first);
    ck_assert_ptr_null(maps_find(&maps, 0x402000));
    ck_assert_ptr_null(maps_find(&maps, 0x3fffff));
    maps_free(&maps);
}
END_TEST

START_TEST(lines_that_make_no_sense_are_counted_and_dropped)
{
    static const char *const lines[] = {
        "",
        "-",
        "zz-zz",
        "00400000-00402000",
        "-1-5 rw-p",
        "00400000-00402000 rwxp",
        "00402000-00400000 r--p 00000000 00:00 0",
        "00400000-00402000 r--p 00000000 00:00",
        "00400000-00402000 r--p 00000000 00:00 x",
        "00000100-00000200 r--p 00000000 00:00 0"}; /* the last: not ascending */
    for (size_t i = 1; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[512];
        struct maps maps;
        snprintf(text, sizeof(text), "00001000-00002000 r--p 00000000 00:00 0\n%s\n", lines[i]);
        ck_assert(maps_parse(strdup(text), &maps));
        ck_assert_msg(maps.count == 1 && maps.refused == 1, "'%s'", lines[i]);
        maps_free(&maps);
    }
}
END_TEST

START_TEST(a_text_without_any_mapping_is_refused)
{
    struct maps maps;
    ck_assert(!maps_parse(strdup(""), &maps));
    ck_assert(!maps_parse(strdup("nothing\nhere\n"), &maps));
}
END_TEST

START_TEST(damaged_texts_never_give_unordered_maps)
{
    static const char good[] = "00400000-00402000 r-xp 00001000 fe:01 1234 /a\n"
                               "7f0000000000-7f0000001000 rw-s 00000000 00:05 7 /dev/shm/x\n"
                               "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]\n";
    for (uint32_t seed = 1; seed <= 2000; seed++) {
        char *text = strdup(good);
        struct maps maps;
        random_state = seed;
        for (uint32_t n = 1 + draw(4); n > 0; n--)
            text[draw(sizeof(good) - 1)] = (char)draw(256);
        if (!maps_parse(text, &maps))
            continue;
        for (size_t i = 1; i < maps.count; i++)
            ck_assert(maps.items[i].start >= maps.items[i - 1].end);
        maps_free(&maps);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("image_ranges");
    TCase *tests = tcase_create("ranges and maps");
    tcase_add_test(tests, random_sets_equal_a_model_however_they_are_built);
    tcase_add_test(tests, a_callback_that_says_stop_is_not_called_again);
    tcase_add_test(tests, inverted_and_empty_ranges_add_nothing);
    tcase_add_test(tests, every_field_of_a_line_is_read);
    tcase_add_test(tests, lines_that_make_no_sense_are_counted_and_dropped);
    tcase_add_test(tests, a_text_without_any_mapping_is_refused);
    tcase_add_test(tests, damaged_texts_never_give_unordered_maps);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
