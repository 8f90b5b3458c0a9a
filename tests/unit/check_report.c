/* SPDX-License-Identifier: MIT */
/* Recordings as text and JSON: what a person must be able to find, and what must never be printed. */
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/recording_fixture.h"
#include "tracer/report/print.h"
#include "tracer/report/report.h"

static struct recording *rec;
static struct report_options options;
static char *printed;

static void setup(void)
{
    rec = fixture_recording();
    options = (struct report_options){.show_possible = true, .path = "heaptally.leaky.1.htz"};
    printed = NULL;
}

static void teardown(void)
{
    recording_free(rec);
    free(printed);
}

static const char *text(void)
{
    size_t size;
    free(printed);
    FILE *f = open_memstream(&printed, &size);
    ck_assert(report_text(rec, &options, f));
    fclose(f);
    return printed;
}

static json_t *json(void)
{
    size_t size;
    free(printed);
    FILE *f = open_memstream(&printed, &size);
    ck_assert(report_json(rec, &options, f));
    fclose(f);
    json_error_t error;
    json_t *doc = json_loads(printed, 0, &error);
    ck_assert_msg(doc != NULL, "%s", error.text);
    return doc;
}

static void assert_has(const char *needle)
{
    ck_assert_msg(strstr(printed, needle) != NULL, "missing: %s\nin:\n%s", needle, printed);
}

static void assert_lacks(const char *needle)
{
    ck_assert_msg(strstr(printed, needle) == NULL, "not wanted: %s\nin:\n%s", needle, printed);
}

static void assert_verdict(const char *expected)
{
    char line[512];
    report_verdict_line(rec, line, sizeof line);
    ck_assert_str_eq(line, expected);
}

#define VERDICT                                                                                              \
    "2 leaks: 1 lost block (40 bytes), 1 cycle of 3 blocks (126 bytes), which hold 2 more blocks (64 bytes)"

START_TEST(verdict_is_first_and_last_line)
{
    const char *all = text();
    const char *line = "heaptally: " VERDICT "\n";
    ck_assert_int_eq(strncmp(all, line, strlen(line)), 0);
    ck_assert_str_eq(all + strlen(all) - strlen(line), line);
}
END_TEST

START_TEST(cycle_is_drawn_edge_by_edge_with_each_members_stack)
{
    text();
    assert_has(
        "CYCLE of 3 blocks, 126 bytes\n   count 3, all from inside the cycle\n"
        "     block #2 +16 -> block #3\n     block #3 +16 -> block #4\n     block #4 +16 -> block #2\n");
    assert_has("block #3 (42 bytes) from malloc in\n");
    assert_has("block #2 (41 bytes), block #4 (43 bytes) from operator new in\n");
}
END_TEST

static void assert_age(uint64_t newest, uint64_t oldest, const char *expected)
{
    rec->groups[0].newest_ms = newest;
    rec->groups[0].oldest_ms = oldest;
    text();
    assert_has(expected);
}

START_TEST(ages_are_told_in_the_unit_a_person_would_take)
{
    enum { S = 1000, MIN = 60 * S, H = 60 * MIN };
    const uint64_t day = 24 * (uint64_t)H;
    text();
    assert_has("   allocated 12 min ago by malloc in\n");
    assert_has("block #4 +16 -> block #2\n   allocated 3 s to 12 min ago\n");
    assert_age(0, 0, "allocated 0 s ago by");
    assert_age(400, 1600, "allocated 0 to 2 s ago by");
    assert_age(3 * S, 3400, "allocated 3 s ago by");
    assert_age(119499, 119500, "allocated 119 s to 2 min ago by");
    assert_age(2 * MIN, 2 * H, "allocated 2 min to 2 h ago by");
    assert_age(47 * H, 2 * day, "allocated 47 h to 2 days ago by");
    assert_age(0, UINT64_MAX, "allocated 0 s to 213503982335 days ago by");
    rec->groups[0].aged_blocks = 0;
    text();
    assert_has("   allocated by malloc in\n");
}
END_TEST

START_TEST(larger_finding_is_printed_first)
{
    const char *all = text();
    ck_assert(strstr(all, "1. CYCLE") < strstr(all, "2. LOST"));
    rec->groups[0].bytes = 1000;
    all = text();
    assert_has("1. LOST");
    ck_assert(strstr(all, "1. LOST") < strstr(all, "2. CYCLE"));
}
END_TEST

START_TEST(stack_has_lines_inlined_marks_and_modules)
{
    text();
    assert_has("make_node                     src/ring.c:17               inlined\n");
    assert_has("make_ring                     src/ring.c:30               [leaky]\n");
    assert_has("Holder::Holder(int)");
    assert_has("[leaky+0x1400]"); /* nothing known but the address: the offset, the same in every run */
    assert_has("no unwind information");
}
END_TEST

START_TEST(allocator_and_start_frames_are_left_out)
{
    text();
    assert_lacks("operator new(");
    assert_lacks("__libc_start_main");
    assert_lacks("_start");
}
END_TEST

START_TEST(stack_of_nothing_but_plumbing_is_printed_whole)
{
    rec->sites[1].frame_count = 1;
    text();
    assert_has("operator new(unsigned long)");
}
END_TEST

START_TEST(possible_block_names_its_holder)
{
    text();
    assert_has("POSSIBLY LOST: 1 block, 44 bytes");
    assert_has("anonymous mapping [pool] (may or may not be in use) -> block #5 +8\n");
    options.show_possible = false;
    text();
    assert_lacks("POSSIBLY LOST");
    assert_has("next: heaptally report --possible heaptally.leaky.1.htz");
}
END_TEST

START_TEST(addresses_only_on_request)
{
    text();
    assert_lacks("0x7e");
    assert_lacks("4711");
    options.addresses = true;
    text();
    assert_has("0x7e0000000000");
    assert_has("pid 4711");
    assert_has("0x555555555100");
}
END_TEST

START_TEST(colour_only_on_request)
{
    text();
    ck_assert_ptr_null(strchr(printed, '\033'));
    options.colour = true;
    text();
    ck_assert_ptr_nonnull(strchr(printed, '\033'));
}
END_TEST

START_TEST(not_checked_is_no_all_clear)
{
    rec->meta.verdict = REC_NOT_CHECKED;
    recording_set(&rec->meta.why_not, "the program was killed");
    assert_verdict("not checked: the program was killed");
    text();
    assert_has("NOT CHECKED");
    assert_lacks("no leaks");
    assert_lacks("reachable");
    recording_set(&rec->meta.why_not, "");
    assert_verdict("not checked: no reason was recorded");
}
END_TEST

START_TEST(clean_run_says_what_is_left)
{
    rec->meta.verdict = REC_CLEAN;
    rec->groups_count = 0;
    memset(rec->meta.class_blocks, 0, sizeof rec->meta.class_blocks);
    assert_verdict("no leaks: no block is left");
    rec->meta.class_blocks[REC_REACHABLE] = 1234;
    assert_verdict("no leaks: 1,234 blocks, all reachable");
    rec->meta.class_blocks[REC_POSSIBLE] = 4;
    assert_verdict("no leaks: 1,238 blocks, 1,234 reachable, 4 possibly lost");
}
END_TEST

START_TEST(suppressed_findings_are_counted_not_shown)
{
    rec->groups[1].suppressed_by = 0;
    assert_verdict("1 leak: 1 lost block (40 bytes), which hold 2 more blocks (64 bytes); suppressed: 3 "
                   "blocks (126 bytes)");
    text();
    assert_lacks("CYCLE");
    assert_has("suppressed: 1 finding, 3 blocks, 126 bytes");
    assert_has("next: heaptally report --show-suppressed ");
    options.show_suppressed = true;
    text();
    assert_has("CYCLE of 3 blocks, 126 bytes (suppressed)");
    rec->groups[0].suppressed_by = 1;
    assert_verdict("no leaks but suppressed ones: 101 blocks, 100 reachable, 1 possibly lost; suppressed: 6 "
                   "blocks (230 bytes)");
}
END_TEST

START_TEST(inherited_blocks_have_their_own_line)
{
    rec->meta.inherited_blocks = 7;
    rec->meta.inherited_bytes = 4321;
    text();
    assert_has("inherited");
    assert_has("4,321   unreachable here, but allocated before the fork");
}
END_TEST

START_TEST(five_thousand_and_one_findings_print)
{
    for (uint32_t i = 0; i < 4999; i++) {
        struct rec_group g = rec->groups[0];
        g.block_count = 0;
        g.bytes = 16;
        ck_assert_uint_ne(recording_add_group(rec, &g), REC_NONE);
    }
    text();
    assert_has("\n5001. ");
    options.max_groups = 10;
    text();
    assert_has("... and 4,991 smaller findings: ");
    assert_lacks("\n11. LOST");
    assert_has("next: heaptally report --groups=0 ");
}
END_TEST

START_TEST(many_edges_and_frames_are_cut_with_a_word)
{
    uint32_t first = rec->edges_count;
    for (uint32_t i = 0; i < 100; i++) {
        struct rec_edge e = {.from_block = 1, .from_root = REC_NONE, .to_block = 2, .offset = i * 8};
        recording_add_edge(rec, &e);
    }
    rec->groups[1].first_edge = first;
    rec->groups[1].edge_count = 100;
    options.max_frames = 1;
    text();
    assert_has("... and 76 more edges");
    assert_has("(1 more frame: --frames=0)");
}
END_TEST

START_TEST(hostile_names_cannot_reach_the_terminal)
{
    rec->lines[0].function[0] = '\033';
    rec->lines[0].function[1] = '\n';
    rec->lines[0].function[2] = (char)0x9b;
    text();
    ck_assert_ptr_null(strchr(printed, '\033'));
    assert_has("???e_node");
    options.path = "it's; rm -rf";
    text();
    assert_has("'it'\\''s; rm -rf'");
    json_t *doc = json(); /* and JSON stays JSON */
    json_decref(doc);
}
END_TEST

START_TEST(write_failure_is_told)
{
    FILE *full = fopen("/dev/full", "w");
    ck_assert_ptr_nonnull(full);
    errno = 0;
    ck_assert(!report_text(rec, &options, full));
    ck_assert_int_eq(errno, ENOSPC);
    fclose(full);
    full = fopen("/dev/full", "w");
    ck_assert(!report_json(rec, &options, full));
    fclose(full);
}
END_TEST

START_TEST(json_has_everything)
{
    json_t *doc = json();
    ck_assert_str_eq(json_string_value(json_object_get(doc, "schema")), "heaptally/1");
    ck_assert_str_eq(json_string_value(json_object_get(doc, "verdict")), "leaks");
    ck_assert_str_eq(json_string_value(json_object_get(doc, "summary")), VERDICT);
    json_t *cycle = json_array_get(json_object_get(doc, "groups"), 1);
    ck_assert_str_eq(json_string_value(json_object_get(cycle, "class")), "cycle");
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(cycle, "age_ms"), "oldest")), 720000);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(cycle, "age_ms"), "newest")), 3000);
    json_t *possible = json_array_get(json_object_get(doc, "groups"), 2);
    ck_assert(json_is_null(json_object_get(possible, "age_ms")));
    json_t *blocks = json_object_get(doc, "blocks");
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(blocks, 1), "age_ms")), 720000);
    ck_assert(json_is_null(json_object_get(json_array_get(blocks, 2), "age_ms")));
    json_t *edge = json_array_get(json_object_get(cycle, "edges"), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(edge, "from_block")), 3);
    ck_assert_int_eq(json_integer_value(json_object_get(edge, "to_block")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(edge, "offset")), 16);
    static const struct {
        const char *name;
        size_t count;
    } arrays[] = {{"blocks", 5}, {"sites", 2}, {"frames", 7}, {"modules", 2}, {"roots", 1}, {"notes", 1}};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        ck_assert_uint_eq(json_array_size(json_object_get(doc, arrays[i].name)), arrays[i].count);
    json_t *module = json_array_get(json_object_get(doc, "modules"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(module, "build_id")), "deadbeef");
    json_decref(doc);
}
END_TEST

START_TEST(verdict_fits_any_buffer)
{
    char whole[512], part[512];
    report_verdict_line(rec, whole, sizeof whole);
    for (size_t size = 1; size < 130; size++) {
        memset(part, '#', sizeof part);
        report_verdict_line(rec, part, size);
        ck_assert_uint_eq(strlen(part), size - 1 < strlen(whole) ? size - 1 : strlen(whole));
        ck_assert_int_eq(strncmp(part, whole, strlen(part)), 0);
        ck_assert_int_eq(part[size], '#');
    }
}
END_TEST

START_TEST(numbers_have_separators)
{
    ck_assert_str_eq(print_digits(0).text, "0");
    ck_assert_str_eq(print_digits(999).text, "999");
    ck_assert_str_eq(print_digits(1000).text, "1,000");
    ck_assert_str_eq(print_digits(UINT64_MAX).text, "18,446,744,073,709,551,615");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("report");
    TCase *tc = tcase_create("report");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, verdict_is_first_and_last_line);
    tcase_add_test(tc, cycle_is_drawn_edge_by_edge_with_each_members_stack);
    tcase_add_test(tc, ages_are_told_in_the_unit_a_person_would_take);
    tcase_add_test(tc, larger_finding_is_printed_first);
    tcase_add_test(tc, stack_has_lines_inlined_marks_and_modules);
    tcase_add_test(tc, allocator_and_start_frames_are_left_out);
    tcase_add_test(tc, stack_of_nothing_but_plumbing_is_printed_whole);
    tcase_add_test(tc, possible_block_names_its_holder);
    tcase_add_test(tc, addresses_only_on_request);
    tcase_add_test(tc, colour_only_on_request);
    tcase_add_test(tc, not_checked_is_no_all_clear);
    tcase_add_test(tc, clean_run_says_what_is_left);
    tcase_add_test(tc, suppressed_findings_are_counted_not_shown);
    tcase_add_test(tc, inherited_blocks_have_their_own_line);
    tcase_add_test(tc, five_thousand_and_one_findings_print);
    tcase_add_test(tc, many_edges_and_frames_are_cut_with_a_word);
    tcase_add_test(tc, hostile_names_cannot_reach_the_terminal);
    tcase_add_test(tc, write_failure_is_told);
    tcase_add_test(tc, json_has_everything);
    tcase_add_test(tc, verdict_fits_any_buffer);
    tcase_add_test(tc, numbers_have_separators);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
