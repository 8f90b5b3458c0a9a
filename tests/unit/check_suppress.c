/* SPDX-License-Identifier: MIT */
/* check_suppress.c - patterns, files good and bad, and which findings a rule takes off the verdict. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer/gate/pattern.h"
#include "tracer/gate/suppress.h"

/* --- patterns ------------------------------------------------------------------------------------------- */
static const struct {
    const char *pattern, *text;
    bool matches;
} patterns[] = {
    {"foo", "foo", true},
    {"foo", "a_foo_b", true},
    {"foo", "fo", false},
    {"foo", "", false},
    {"", "anything", true},
    {"", "", false},
    {"*", "x", true},
    {"*", "", false},
    {"^foo", "foobar", true},
    {"^foo", "a foo", false},
    {"foo$", "a foo", true},
    {"foo$", "foobar", false},
    {"^foo$", "foo", true},
    {"^foo$", "foofoo", false},
    {"^foo$", "fooX", false},
    {"^$", "x", false},
    {"$", "x", false},
    {"*$", "x", true},
    {"a*$", "xay", true},
    {"a*$", "xy", false},
    {"a*b", "xaxxbx", true},
    {"a*b", "ba", false},
    {"a*b", "ab", true},
    {"^a*b$", "a...b", true},
    {"^a*b$", "a...bc", false},
    {"^ab*b$", "ab", false},
    {"^ab*b$", "abb", true},
    {"^*b", "ab", true},
    {"ab$", "abab", true},
    {"a*ab$", "abab", true},
    {"a$b", "a", true},
    {"a$b", "a$b", false},
    {"a**b", "ab", true},
    {"a*b*c", "a-b-b-c", true},
    {"a*b*c", "a-c-b", false},
    {"a^b", "a^b", true},
    {"a^b", "ab", false},
    {"*.so", "/usr/lib/x.so.1", true},
    {"std::*map", "std::__1::map<int>", true},
    {"fooo", "foofooo", true},
    {"aab", "aaab", true},
    {"Foo", "foo", false},
    {"^*", "", false},
};

START_TEST(pattern_matches_as_leak_sanitizer_says)
{
    ck_assert_msg(pattern_matches(patterns[_i].pattern, patterns[_i].text) == patterns[_i].matches,
                  "'%s' and '%s'", patterns[_i].pattern, patterns[_i].text);
}
END_TEST

/* Every pattern and text over a small alphabet, beside backtracking that follows the definition. */
static bool model_here(const char *p, const char *t)
{
    if (*p == '\0')
        return true;
    if (*p == '$')
        return *t == '\0';
    if (*p == '*')
        return model_here(p + 1, t) || (*t && model_here(p, t + 1));
    return *t == *p && model_here(p + 1, t + 1);
}

static bool model_matches(const char *p, const char *t)
{
    if (*t == '\0' || *p == '$')
        return false;
    if (*p == '^')
        return model_here(p + 1, t);
    for (; !model_here(p, t); t++)
        if (!*t)
            return false;
    return true;
}

static void word_of(uint32_t number, const char *alphabet, char *ret)
{
    uint32_t base = (uint32_t)strlen(alphabet);
    for (; number; number = (number - 1) / base)
        *ret++ = alphabet[(number - 1) % base];
    *ret = '\0';
}

START_TEST(all_short_patterns_agree_with_backtracking)
{
    char pattern[16], text[16];
    for (uint32_t p = 0; p < 1365; p++) /* lengths 0 to 5 of 4 letters, '^' in front or not */
        for (uint32_t t = 0; t < 255; t++)
            for (int anchored = 0; anchored < 2; anchored++) {
                pattern[0] = '^';
                word_of(p, "ab*$", pattern + anchored);
                word_of(t, "ab", text);
                ck_assert_msg(pattern_matches(pattern, text) == model_matches(pattern, text), "'%s' and '%s'",
                              pattern, text);
            }
}
END_TEST

START_TEST(many_stars_do_not_take_for_ever)
{
    static char text[100001], pattern[2001];
    memset(text, 'a', sizeof(text) - 1);
    for (size_t i = 0; i + 1 < sizeof(pattern); i++)
        pattern[i] = i % 2 ? '*' : 'a';
    pattern[sizeof(pattern) - 3] = 'b';
    ck_assert(!pattern_matches(pattern, text));
}
END_TEST

/* --- files ---------------------------------------------------------------------------------------------- */
static char warnings[2048];

static void keep_warning(const char *line)
{
    size_t have = strlen(warnings);
    snprintf(warnings + have, sizeof(warnings) - have, "%s\n", line);
}

static void start_warnings(void)
{
    warnings[0] = '\0';
}

static bool parse(struct suppressions **list, const char *text, char *error, size_t size)
{
    return suppressions_parse(list, text, strlen(text), "rules", keep_warning, error, size);
}

static const char *text_of(const struct suppressions *list, uint32_t rule)
{
    uint64_t blocks, bytes;
    return suppression_text(list, rule, &blocks, &bytes);
}

START_TEST(file_gives_its_rules_in_order)
{
    struct suppressions *list = NULL;
    char error[200] = "";
    ck_assert(parse(&list,
                    "\xef\xbb\xbf"
                    "# first\nleak:one\n\n  \t\n\t leak:two words \r\n#leak:no\nleak:*x$",
                    error, 200));
    ck_assert_str_eq(text_of(list, 0), "one");
    ck_assert_str_eq(text_of(list, 1), "two words");
    ck_assert_str_eq(text_of(list, 2), "*x$");
    ck_assert_ptr_null(text_of(list, 3));
    ck_assert_str_eq(warnings, "");
    ck_assert(parse(&list, "leak:more", error, 200));
    ck_assert_str_eq(text_of(list, 3), "more");
    suppressions_free(list);
}
END_TEST

START_TEST(rules_of_other_sanitizers_are_told_and_skipped)
{
    struct suppressions *list = NULL;
    char error[200] = "";
    ck_assert(parse(&list, "race:x\nleak:a\nleak a\nLeak:b\n", error, 200));
    ck_assert_str_eq(warnings, "rules:1: not a leak: rule, skipped: race:x\n"
                               "rules:3: not a leak: rule, skipped: leak a\n"
                               "rules:4: not a leak: rule, skipped: Leak:b\n");
    ck_assert_ptr_null(text_of(list, 1));
    suppressions_free(list);
    list = NULL;
    ck_assert(suppressions_parse(&list, "race:x", 6, "rules", NULL, error, 200)); /* nobody listens */
    suppressions_free(list);
}
END_TEST

START_TEST(empty_pattern_is_warned_about)
{
    struct suppressions *list = NULL;
    char error[200];
    ck_assert(parse(&list, "leak:\n", error, 200));
    ck_assert_str_eq(text_of(list, 0), "");
    ck_assert_str_eq(warnings, "rules:1: an empty pattern suppresses everything: leak:\n");
    suppressions_free(list);
}
END_TEST

START_TEST(binary_file_is_refused_and_the_list_kept)
{
    struct suppressions *list = NULL;
    char error[200] = "";
    ck_assert(!suppressions_parse(&list, "leak:a\nle\0ak:b", 13, "rules", NULL, error, 200));
    ck_assert_str_eq(error, "rules:2: a zero byte: not a suppressions file");
    ck_assert_ptr_null(list);
    ck_assert(parse(&list, "leak:kept", error, 200));
    ck_assert(
        !suppressions_parse(&list, "leak:a\n\0", 8, "rules", NULL, error, 0)); /* no room for the line */
    ck_assert_str_eq(text_of(list, 0), "kept");
    ck_assert_ptr_null(text_of(list, 1));
    suppressions_free(list);
}
END_TEST

START_TEST(unreadable_file_is_an_error)
{
    struct suppressions *list = NULL;
    char error[200] = "";
    ck_assert(!suppressions_load(&list, "/nonexistent/rules", NULL, error, sizeof(error)));
    ck_assert_str_eq(error, "cannot read suppressions from /nonexistent/rules: No such file or directory");
    ck_assert(!suppressions_load(&list, "/", NULL, error, sizeof(error)));
    ck_assert_str_eq(error, "cannot read suppressions from /: Is a directory");
    ck_assert(!suppressions_load(&list, "/dev/zero", NULL, error, sizeof(error)));
    ck_assert_str_eq(error, "cannot read suppressions from /dev/zero: larger than 16 MiB");
    ck_assert_ptr_null(list);
}
END_TEST

START_TEST(long_file_is_read_whole)
{
    char path[] = "check_suppress.XXXXXX", error[200], last[32];
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    FILE *out = fdopen(fd, "w");
    for (int i = 0; i < 5000; i++)
        fprintf(out, "leak:function_%d\n", i);
    fclose(out);
    struct suppressions *list = NULL;
    bool ok = suppressions_load(&list, path, keep_warning, error, sizeof(error));
    unlink(path);
    ck_assert(ok);
    snprintf(last, sizeof(last), "function_%d", 4999);
    ck_assert_str_eq(text_of(list, 4999), last);
    ck_assert_ptr_null(text_of(list, 5000));
    suppressions_free(list);
}
END_TEST

/* --- findings ------------------------------------------------------------------------------------------- */
static uint32_t add_line(struct recording *rec, const char *function, const char *file)
{
    char f[64], p[64];
    snprintf(f, sizeof(f), "%s", function);
    snprintf(p, sizeof(p), "%s", file);
    struct rec_line line = {.function = f, .file = p, .line = 1};
    return recording_add_line(rec, &line);
}

static uint32_t add_block(struct recording *rec, uint32_t site)
{
    struct rec_block block = {.size = 8, .capacity = 16, .site = site};
    return recording_add_block(rec, &block);
}

static void add_group(struct recording *rec, uint32_t cls, uint32_t site, uint32_t other_site)
{
    uint32_t first = add_block(rec, site);
    add_block(rec, other_site);
    struct rec_group g = {
        .cls = cls, .site = site, .instances = 1, .blocks = 2, .bytes = 16, .indirect_blocks = 3};
    g.indirect_bytes = 30;
    g.first_block = first;
    g.block_count = 2;
    g.suppressed_by = REC_NONE;
    recording_add_group(rec, &g);
}

/* Frames: 0 "inner" inlined into "outer" in libone.so; 1 "main" in no module; 2 without lines in libone.so.
 * Sites: 0 = frames 0, 1; 1 = frame 1; 2 = frame 2.
 * Groups: 0 lost at site 0; 1 cycle of sites 1 and 2; 2 possible at site 0; 3 lost without a site. */
static struct recording *sample(void)
{
    struct recording *rec = recording_new();
    char path[] = "/usr/lib/libone.so";
    struct rec_module module = {.path = path, .end = 4096};
    uint32_t one = recording_add_module(rec, &module);
    uint32_t inner = add_line(rec, "inner", "src/deep.c"), at_main;
    add_line(rec, "outer", "src/wide.c");
    at_main = add_line(rec, "main", "");
    struct rec_frame frames[] = {{.ip = 1, .module = one, .first_line = inner, .line_count = 2},
                                 {.ip = 2, .module = REC_NONE, .first_line = at_main, .line_count = 1},
                                 {.ip = 3, .module = one}};
    for (int i = 0; i < 3; i++)
        recording_add_frame(rec, &frames[i]);
    recording_add_site(rec, (const uint32_t[]){0, 1}, 2, 0);
    recording_add_site(rec, (const uint32_t[]){1}, 1, 0);
    recording_add_site(rec, (const uint32_t[]){2}, 1, 0);
    add_group(rec, REC_LOST, 0, 0);
    add_group(rec, REC_CYCLE, 1, 2);
    add_group(rec, REC_POSSIBLE, 0, 0);
    add_group(rec, REC_LOST, REC_NONE, REC_NONE);
    return rec;
}

static const struct {
    const char *rules;
    uint32_t left, lost, cycle; /* which rule suppresses group 0, and 1 */
} judgements[] = {
    {"", 3, REC_NONE, REC_NONE},
    {"leak:nowhere", 3, REC_NONE, REC_NONE},
    {"leak:^inner$", 2, 0, REC_NONE},
    {"leak:outer", 2, 0, REC_NONE},
    {"leak:wide.c$", 2, 0, REC_NONE},
    {"leak:^main$", 1, 0, 0},
    {"leak:libone", 1, 0, 0}, /* the cycle by its second member */
    {"leak:<unknown module>", 1, 0, 0},
    {"leak:main\nleak:inner", 1, 1, 0},          /* the innermost frame decides, not the first rule */
    {"leak:inner\nleak:one.so", 1, 1, 1},        /* module before function */
    {"leak:outer\nleak:deep.c", 2, 1, REC_NONE}, /* line by line, inlined first */
    {"leak:*", 1, 0, 0},
    {"leak:", 1, 0, 0},
};

START_TEST(rule_takes_its_findings_off_the_verdict)
{
    struct recording *rec = sample();
    struct suppressions *list = NULL;
    char error[200];
    uint64_t blocks, bytes;
    ck_assert(parse(&list, judgements[_i].rules, error, sizeof(error)));
    for (int again = 0; again < 2; again++) { /* counts start anew each time */
        ck_assert_uint_eq(suppressions_apply(list, rec), judgements[_i].left);
        ck_assert_uint_eq(rec->groups[0].suppressed_by, judgements[_i].lost);
        ck_assert_uint_eq(rec->groups[1].suppressed_by, judgements[_i].cycle);
        ck_assert_uint_eq(rec->groups[2].suppressed_by, REC_NONE);
        ck_assert_uint_eq(rec->groups[3].suppressed_by, REC_NONE);
        uint64_t all_blocks = 0, all_bytes = 0;
        for (uint32_t r = 0; suppression_text(list, r, &blocks, &bytes); r++)
            all_blocks += blocks, all_bytes += bytes;
        ck_assert_uint_eq(all_blocks, (3 - judgements[_i].left) * 5u);
        ck_assert_uint_eq(all_bytes, (3 - judgements[_i].left) * 46u);
    }
    suppressions_free(list);
    recording_free(rec);
}
END_TEST

START_TEST(without_rules_every_lost_or_cycle_group_fails)
{
    struct recording *rec = sample();
    rec->groups[0].suppressed_by = 7; /* left from before */
    ck_assert_uint_eq(suppressions_apply(NULL, rec), 3);
    ck_assert_uint_eq(rec->groups[0].suppressed_by, REC_NONE);
    recording_free(rec);
    rec = recording_new();
    ck_assert_uint_eq(suppressions_apply(NULL, rec), 0);
    recording_free(rec);
    suppressions_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("suppress");
    TCase *tc = tcase_create("suppress");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, start_warnings, NULL);
    tcase_add_loop_test(tc, pattern_matches_as_leak_sanitizer_says, 0,
                        (int)(sizeof(patterns) / sizeof(patterns[0])));
    tcase_add_test(tc, all_short_patterns_agree_with_backtracking);
    tcase_add_test(tc, many_stars_do_not_take_for_ever);
    tcase_add_test(tc, file_gives_its_rules_in_order);
    tcase_add_test(tc, rules_of_other_sanitizers_are_told_and_skipped);
    tcase_add_test(tc, empty_pattern_is_warned_about);
    tcase_add_test(tc, binary_file_is_refused_and_the_list_kept);
    tcase_add_test(tc, unreadable_file_is_an_error);
    tcase_add_test(tc, long_file_is_read_whole);
    tcase_add_loop_test(tc, rule_takes_its_findings_off_the_verdict, 0,
                        (int)(sizeof(judgements) / sizeof(judgements[0])));
    tcase_add_test(tc, without_rules_every_lost_or_cycle_group_fails);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
