/* SPDX-License-Identifier: MIT */
/* check_exit_codes.c - every way out has its code, and "not checked" is never 0 nor the gate's. */
#include <check.h>
#include <stdlib.h>

#include "tracer/tool/exit_codes.h"

static const struct {
    struct outcome outcome;
    int code;
} rows[] = {
    {{.checked = true}, 0},
    {{.checked = true, .leaks = true}, 0},
    {{.checked = true, .leaks = true, .error_exitcode = 23}, 23},
    {{.checked = true, .error_exitcode = 23}, 0},
    {{.checked = false}, EXIT_NOT_CHECKED},
    {{.checked = false, .leaks = true, .error_exitcode = 23}, EXIT_NOT_CHECKED},
    {{.checked = true, .child_not_checked = true}, 0},
    {{.checked = true, .child_not_checked = true, .error_exitcode = 23}, EXIT_NOT_CHECKED},
    {{.checked = true, .child_not_checked = true, .leaks = true, .error_exitcode = 23}, 23},
    {{.checked = true, .tool_failed = true, .leaks = true, .error_exitcode = 23}, EXIT_TOOL_FAILED},
    {{.status = 7, .checked = true, .leaks = true, .error_exitcode = 23}, 7},
    {{.status = 7, .checked = false, .tool_failed = true}, 7},
    {{.status = 15, .by_signal = true, .checked = true, .leaks = true, .error_exitcode = 23}, 143},
    {{.status = 9, .by_signal = true}, 137},
};

START_TEST(outcome_has_its_code)
{
    ck_assert_int_eq(exit_code_of(&rows[_i].outcome), rows[_i].code);
}
END_TEST

START_TEST(unchecked_success_is_never_zero_nor_the_gate)
{
    for (unsigned bits = 0; bits < 16; bits++) {
        struct outcome o = {.tool_failed = bits & 1,
                            .leaks = bits & 2,
                            .child_not_checked = bits & 4,
                            .error_exitcode = bits & 8 ? 23 : 0};
        ck_assert_int_ne(exit_code_of(&o), 0);
        ck_assert_int_ne(exit_code_of(&o), 23);
    }
}
END_TEST

START_TEST(own_codes_are_no_gate_codes)
{
    static const long refused[] = {0, -1, 256, 120, 125, 126, 127, 128};
    for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        ck_assert(!exit_code_is_usable(refused[i]));
    ck_assert(exit_code_is_usable(1) && exit_code_is_usable(23) && exit_code_is_usable(255));
}
END_TEST

START_TEST(table_ends)
{
    unsigned n = 0;
    while (exit_text_at(n))
        n++;
    ck_assert_uint_ge(n, 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exit_codes");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, outcome_has_its_code, 0, sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(all, unchecked_success_is_never_zero_nor_the_gate);
    tcase_add_test(all, own_codes_are_no_gate_codes);
    tcase_add_test(all, table_ends);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
