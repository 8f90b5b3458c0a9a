/* SPDX-License-Identifier: MIT */
/* check_launch.c - what the program finds in its environment, and what its recordings are called. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer/tool/launch.h"
#include "tracer/tool/name.h"

static const char *value_of(char **environment, const char *name)
{
    const char *found = NULL;
    size_t length = strlen(name);
    for (char **p = environment; *p; p++) {
        if (strncmp(*p, name, length) == 0 && (*p)[length] == '=') {
            ck_assert_msg(!found, "%s is there twice", name);
            found = *p + length + 1;
        }
    }
    return found;
}

static const struct {
    const char *preload, *settings; /* the user's; NULL: not set */
    const char *want_preload, *want_settings;
} rows[] = {
    {NULL, NULL, "/l.so", "record=1:socket=/s"},
    {"LD_PRELOAD=/u.so", NULL, "/l.so:/u.so", "record=1:socket=/s"},
    {"LD_PRELOAD=/u.so:/v.so", "HEAPTALLY=depth=3", "/l.so:/u.so:/v.so", "record=1:socket=/s:depth=3"},
    {"LD_PRELOAD=", "HEAPTALLY=", "/l.so", "record=1:socket=/s"},
    {NULL, "HEAPTALLY=socket=/outer", "/l.so", "record=1:socket=/s"},
    {NULL, "HEAPTALLY=record=0:park=5:socket=/outer:depth=2", "/l.so", "record=1:socket=/s:park=5:depth=2"},
    {NULL, "HEAPTALLY=::depth=2::", "/l.so", "record=1:socket=/s:depth=2"},
};

START_TEST(environment_carries_ours_before_the_users)
{
    char *base[8] = {strdup("A=1"), strdup("LD_PRELOADX=n"), strdup("ODD"), NULL};
    unsigned n = 3;
    if (rows[_i].preload)
        base[n++] = strdup(rows[_i].preload);
    if (rows[_i].settings)
        base[n++] = strdup(rows[_i].settings);
    char **environment = launch_environment(base, "/l.so", "record=1:socket=/s");
    ck_assert_ptr_nonnull(environment);
    ck_assert_str_eq(value_of(environment, "LD_PRELOAD"), rows[_i].want_preload);
    ck_assert_str_eq(value_of(environment, "HEAPTALLY"), rows[_i].want_settings);
    ck_assert_str_eq(value_of(environment, "A"), "1");
    ck_assert_str_eq(value_of(environment, "LD_PRELOADX"), "n");
    ck_assert_str_eq(environment[2], "ODD");
    free(environment);
    for (unsigned i = 0; i < n; i++)
        free(base[i]);
}
END_TEST

START_TEST(empty_environment_gets_two_variables)
{
    char *none[] = {NULL};
    char **environment = launch_environment(none, "/l.so", "record=1");
    ck_assert_ptr_nonnull(environment[1]);
    ck_assert_ptr_null(environment[2]);
    free(environment);
}
END_TEST

/* --- names ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *pattern, *program;
    bool child;
    const char *want;
} names[] = {
    {NAME_DEFAULT, "ls", false, "heaptally.ls.12.htz"},
    {NAME_DEFAULT, "/usr/bin/ls", true, "heaptally.ls.12.htz"},
    {"out.htz", "ls", false, "out.htz"},
    {"out.htz", "ls", true, "out.htz.12"},
    {"%e", "./a", true, "a.12"},
    {"%p-%e-%%p", "a", true, "12-a-%p"},
    {"100%%p", "a", true, "100%p.12"},
    {"d/%e", "a\nb", false, "d/a_b"},
    {"%e", "/", false, "_"},
};

START_TEST(pattern_becomes_a_name)
{
    char *name = name_expand(names[_i].pattern, names[_i].program, 12, names[_i].child);
    ck_assert_str_eq(name, names[_i].want);
    free(name);
}
END_TEST

START_TEST(name_is_given_out_once)
{
    struct names list = {0};
    ck_assert_str_eq(names_take(&list, strdup("a.htz")), "a.htz");
    ck_assert_str_eq(names_take(&list, strdup("a.htz")), "a.2.htz");
    ck_assert_str_eq(names_take(&list, strdup("a.htz")), "a.3.htz");
    ck_assert_str_eq(names_take(&list, strdup("b")), "b");
    ck_assert_str_eq(names_take(&list, strdup("b")), "b.2");
    ck_assert_ptr_null(names_take(&list, NULL));
    for (unsigned i = 0; i < 40; i++)
        ck_assert_ptr_nonnull(names_take(&list, strdup(".htz")));
    names_free(&list);
}
END_TEST

START_TEST(name_of_a_file_that_is_there_gets_a_number)
{
    char path[] = "/tmp/check_launch-XXXXXX", want[64];
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    snprintf(want, sizeof(want), "%s.2", path);
    char *name = name_unused(strdup(path));
    ck_assert_str_eq(name, want);
    free(name);
    unlink(path);
    name = name_unused(strdup(path));
    ck_assert_str_eq(name, path);
    free(name);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("launch");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, environment_carries_ours_before_the_users, 0, sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(all, empty_environment_gets_two_variables);
    tcase_add_loop_test(all, pattern_becomes_a_name, 0, sizeof(names) / sizeof(names[0]));
    tcase_add_test(all, name_is_given_out_once);
    tcase_add_test(all, name_of_a_file_that_is_there_gets_a_number);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
