/* SPDX-License-Identifier: MIT */
/* preload/settings.c: the table, its parser and its warnings. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "preload/settings.h"

static char told[8192];
static int lines;
static struct settings settings;

static void tell(struct line *line)
{
    size_t at = strlen(told);
    ck_assert_uint_lt(at + line->length + 2, sizeof(told));
    memcpy(told + at, line->text, line->length);
    strcpy(told + at + line->length, "\n");
    lines++;
}

static void parse(const char *text)
{
    told[0] = '\0';
    lines = 0;
    settings_defaults(&settings);
    settings_parse(text, &settings, tell);
}

START_TEST(nothing_set_gives_the_allocator_alone)
{
    parse("");
    ck_assert(!settings.record && !settings.help);
    ck_assert(settings.children && settings.exit_check);
    ck_assert_str_eq(settings.socket, "");
    ck_assert_uint_eq(settings.depth, 128);
    ck_assert_int_eq(settings.signal, SIGRTMAX - 3);
    ck_assert_int_eq(settings.misuse, MISUSE_ABORT);
    ck_assert_uint_eq(settings.fatal_signals, 0);
    ck_assert(!settings.harden);
    ck_assert_uint_eq(settings.quarantine_kib, 16384);
    ck_assert_int_eq(lines, 0);
}
END_TEST

START_TEST(every_key_takes_its_value)
{
    parse("record=1:socket=/run/h.sock:depth=7:signal=SIGUSR2:decay=-1:misuse=report:children=0:exit_check=0:"
          "fatal_signals=TERM+SIGINT:park=250:help=1:harden=1:quarantine=64:free_stacks=0:check_stacks=9");
    ck_assert_str_eq(told, "");
    ck_assert(settings.record && settings.help && !settings.children && !settings.exit_check);
    ck_assert_str_eq(settings.socket, "/run/h.sock");
    ck_assert_uint_eq(settings.depth, 7);
    ck_assert_int_eq(settings.signal, SIGUSR2);
    ck_assert_int_eq(settings.decay_ms, -1);
    ck_assert_int_eq(settings.misuse, MISUSE_REPORT);
    ck_assert_uint_eq(settings.fatal_signals, 1ull << (SIGTERM - 1) | 1ull << (SIGINT - 1));
    ck_assert_uint_eq(settings.park_ms, 250);
    ck_assert(settings.harden && !settings.free_stacks);
    ck_assert_uint_eq(settings.check_stacks, 9);
    ck_assert_uint_eq(settings.quarantine_kib, 64);
}
END_TEST

START_TEST(unknown_key_is_told_with_the_nearest)
{
    parse("recrod=1:record=1");
    ck_assert(settings.record);
    ck_assert_int_eq(lines, 1);
    ck_assert_ptr_nonnull(strstr(told, "'recrod'"));
    ck_assert_ptr_nonnull(strstr(told, "nearest is 'record'"));
    parse("exitcheck=0");
    ck_assert_ptr_nonnull(strstr(told, "nearest is 'exit_check'"));
}
END_TEST

static const char *const bad[] = {
    "record=2",
    "record=",
    "record",
    "depth=0",
    "depth=1025",
    "depth=-1",
    "depth=12x",
    "depth=",
    "depth=99999999999999999999",
    "signal=0",
    "signal=65",
    "signal=NONE",
    "signal=RTMAX+1",
    "signal=RTMAX-99",
    "signal=RTMIN-1",
    "decay=-2",
    "decay=-",
    "misuse=Abort",
    "misuse=",
    "fatal_signals=KILL",
    "fatal_signals=TERM+",
    "fatal_signals=TERM+NOPE",
    "park=-1",
    "harden=2",
    "quarantine=-1",
    "quarantine=1M",
    "free_stacks=",
    "check_stacks=-1",
};

START_TEST(bad_value_is_told_and_the_default_stays)
{
    struct settings standard;
    memset(&standard, 0, sizeof(standard)); /* the ends of paths, which nobody writes */
    settings_defaults(&standard);
    parse(bad[_i]);
    ck_assert_msg(lines == 1, "%s: %d lines", bad[_i], lines);
    ck_assert_msg(memcmp(&standard, &settings, sizeof(standard)) == 0, "%s changed something", bad[_i]);
}
END_TEST

START_TEST(last_word_counts)
{
    parse("depth=5:depth=9");
    ck_assert_uint_eq(settings.depth, 9);
    parse("misuse=ignore:misuse=nonsense");
    ck_assert_int_eq(settings.misuse, MISUSE_ABORT);
}
END_TEST

START_TEST(empty_items_are_skipped)
{
    parse("::record=1:::");
    ck_assert(settings.record);
    ck_assert_int_eq(lines, 0);
}
END_TEST

START_TEST(socket_too_long_is_refused_not_cut)
{
    char text[PRELOAD_PATH_MAX + 64] = "socket=";
    memset(text + 7, 'x', PRELOAD_PATH_MAX);
    parse(text);
    ck_assert_int_eq(lines, 1);
    ck_assert_str_eq(settings.socket, "");
    text[7 + PRELOAD_PATH_MAX - 1] = '\0';
    parse(text);
    ck_assert_int_eq(lines, 0);
    ck_assert_uint_eq(strlen(settings.socket), PRELOAD_PATH_MAX - 1);
}
END_TEST

/* Every value that the table shows as a default can be written, and any noise is survived. */
START_TEST(noise_is_survived)
{
    static const char letters[] = "record=socket:depth0129-+_\x80\xff=:";
    srand(4711);
    for (int round = 0; round < 20000; round++) {
        char text[64];
        size_t length = (size_t)rand() % (sizeof(text) - 1);
        for (size_t i = 0; i < length; i++)
            text[i] = letters[(size_t)rand() % (sizeof(letters) - 1)];
        text[length] = '\0';
        char copy[64];
        strcpy(copy, text);
        parse(text);
        ck_assert_str_eq(copy, text);
    }
}
END_TEST

START_TEST(help_has_a_line_per_key)
{
    told[0] = '\0';
    lines = 0;
    settings_help(tell);
    ck_assert_int_eq(lines, 20);
    ck_assert_ptr_nonnull(strstr(told, "misuse=abort|report|ignore"));
}
END_TEST

START_TEST(line_is_cut_at_its_end)
{
    struct line line;
    line_start(&line, "");
    for (int i = 0; i < 500; i++)
        line_number(&line, -123456789);
    ck_assert_uint_eq(line.length, LINE_MAX_BYTES - 1);
    line_start(&line, "");
    line_number(&line, INT64_MIN);
    line_text(&line, " ");
    line_hex(&line, UINT64_MAX);
    ck_assert_uint_eq(line.length, 20 + 1 + 18);
    ck_assert_int_eq(memcmp(line.text, "-9223372036854775808 0xffffffffffffffff", line.length), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("settings");
    TCase *parser = tcase_create("parser");
    tcase_add_test(parser, nothing_set_gives_the_allocator_alone);
    tcase_add_test(parser, every_key_takes_its_value);
    tcase_add_test(parser, unknown_key_is_told_with_the_nearest);
    tcase_add_loop_test(parser, bad_value_is_told_and_the_default_stays, 0,
                        (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(parser, last_word_counts);
    tcase_add_test(parser, empty_items_are_skipped);
    tcase_add_test(parser, socket_too_long_is_refused_not_cut);
    tcase_add_test(parser, noise_is_survived);
    tcase_add_test(parser, help_has_a_line_per_key);
    tcase_add_test(parser, line_is_cut_at_its_end);
    suite_add_tcase(suite, parser);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
