/* SPDX-License-Identifier: MIT */
/* check_options.c - command lines good and bad, and what is left for the program. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer/tool/options.h"

#define WORDS_MAX 16

/* Splits at spaces; the words stay valid until the next call. */
static bool parse(const struct argp *argp, const char *line, struct tool_options *ret)
{
    static char copy[1024];
    static char *words[WORDS_MAX];
    int count = 0;
    snprintf(copy, sizeof(copy), "run %s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        words[count++] = word;
    words[count] = NULL;
    return options_parse(argp, count, words, ret);
}

static const struct {
    const char *line;
    const char *program; /* first word of it; NULL: refused */
    const char *settings;
    int gate;
} runs[] = {
    {"true", "true", NULL, 0},
    {"true --error-exitcode=5 -q", "true", NULL, 0},
    {"-q true -q", "true", NULL, 0},
    {"-- -q", "-q", NULL, 0},
    {"--error-exitcode=23 prog a b", "prog", NULL, 23},
    {"--error-exitcode 23 prog", "prog", NULL, 23},
    {"--error-exitcode=0 prog", "prog", NULL, 0},
    {"--depth=3 prog", "prog", "depth=3", 0},
    {"--depth=3 --setting=park=5 prog", "prog", "depth=3:park=5", 0},
    {"--children=none prog", "prog", NULL, 0},
    {"-o x.%p.%e prog", "prog", NULL, 0},
    {"", NULL, NULL, 0},
    {"-q", NULL, NULL, 0},
    {"--nonsense prog", NULL, NULL, 0},
    {"-Z prog", NULL, NULL, 0},
    {"--depth", NULL, NULL, 0},
    {"--depth=0 prog", NULL, NULL, 0},
    {"--depth=-1 prog", NULL, NULL, 0},
    {"--depth=3x prog", NULL, NULL, 0},
    {"--depth=99999999999999999999 prog", NULL, NULL, 0},
    {"--error-exitcode=120 prog", NULL, NULL, 0},
    {"--error-exitcode=125 prog", NULL, NULL, 0},
    {"--error-exitcode=256 prog", NULL, NULL, 0},
    {"--error-exitcode=x prog", NULL, NULL, 0},
    {"--children=some prog", NULL, NULL, 0},
    {"--setting=park prog", NULL, NULL, 0},
    {"--setting=park=1:record=0 prog", NULL, NULL, 0},
    {"-o x.%q prog", NULL, NULL, 0},
    {"-o x.% prog", NULL, NULL, 0},
    {"-o dir/ prog", NULL, NULL, 0},
    {"-o /dev/null prog", NULL, NULL, 0},
    {"-o / prog", NULL, NULL, 0},
    {"-p 3 prog", NULL, NULL, 0},
};

START_TEST(run_line_is_understood)
{
    struct tool_options o;
    bool ok = parse(&options_run, runs[_i].line, &o);
    ck_assert_msg(ok == (runs[_i].program != NULL), "'%s' was %s", runs[_i].line, ok ? "taken" : "refused");
    if (ok) {
        ck_assert_str_eq(o.program[0], runs[_i].program);
        ck_assert_int_eq(o.error_exitcode, runs[_i].gate);
        ck_assert_pstr_eq(o.settings, runs[_i].settings);
    }
    options_free(&o);
}
END_TEST

START_TEST(words_behind_the_program_are_its_own)
{
    struct tool_options o;
    ck_assert(parse(&options_run, "-v prog -o x --depth=1 -- -q", &o));
    ck_assert_str_eq(o.program[1], "-o");
    ck_assert_str_eq(o.program[3], "--depth=1");
    ck_assert_str_eq(o.program[4], "--");
    ck_assert_str_eq(o.program[5], "-q");
    ck_assert_ptr_null(o.program[6]);
    ck_assert(o.verbose && !o.quiet && !o.output);
    options_free(&o);
}
END_TEST

START_TEST(suppressions_add_up)
{
    struct tool_options o;
    ck_assert(parse(&options_run, "--suppressions=a --suppressions b prog", &o));
    ck_assert_uint_eq(o.suppression_count, 2);
    ck_assert_str_eq(o.suppressions[0], "a");
    ck_assert_str_eq(o.suppressions[1], "b");
    options_free(&o);
}
END_TEST

START_TEST(help_needs_no_program)
{
    struct tool_options o;
    ck_assert(parse(&options_run, "--help", &o) && o.help);
    options_free(&o);
    ck_assert(parse(&options_snapshot, "-h", &o) && o.help);
    options_free(&o);
}
END_TEST

START_TEST(report_takes_one_file)
{
    struct tool_options o;
    ck_assert(parse(&options_report, "x.htz --json", &o) && o.json);
    ck_assert_str_eq(o.file, "x.htz");
    options_free(&o);
    ck_assert(!parse(&options_report, "", &o));
    options_free(&o);
    ck_assert(!parse(&options_report, "a b", &o));
    options_free(&o);
    ck_assert(!parse(&options_report, "--depth=3 a", &o));
    options_free(&o);
}
END_TEST

START_TEST(snapshot_takes_one_pid)
{
    struct tool_options o;
    ck_assert(parse(&options_snapshot, "-p 12 --error-exitcode=3", &o));
    ck_assert_int_eq(o.pid, 12);
    options_free(&o);
    static const char *const bad[] = {"", "-p", "-p x", "-p 0", "-p -1", "-p 1 2", "-p 99999999999"};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!parse(&options_snapshot, bad[i], &o), "'%s' was taken", bad[i]);
        options_free(&o);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("options");
    TCase *all = tcase_create("all");
    if (!freopen("/dev/null", "w", stderr)) /* what the person is told is tested with the command */
        return EXIT_FAILURE;
    tcase_add_loop_test(all, run_line_is_understood, 0, sizeof(runs) / sizeof(runs[0]));
    tcase_add_test(all, words_behind_the_program_are_its_own);
    tcase_add_test(all, suppressions_add_up);
    tcase_add_test(all, help_needs_no_program);
    tcase_add_test(all, report_takes_one_file);
    tcase_add_test(all, snapshot_takes_one_pid);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
