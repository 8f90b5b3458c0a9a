/* SPDX-License-Identifier: MIT */
/*
 * check_sample.c - sampled counts are, on average, the whole ones, and their intervals hold the truth as often as they say.
 *
 * Seeds are set, so that each run sees the same chance.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "tracer/format/tables.h"
#include "tracer/record/sample.h"

/* --- the two functions, against libm ----------------------------------------------------------------------------- */

START_TEST(weights_are_what_the_formula_says)
{
    static const size_t sizes[] = {0, 1, 16, 100, 4095, 4096, 65536, 1 << 20, 1 << 30};
    static const uint64_t means[] = {1, 64, 4096, 524288, (uint64_t)1 << 40};
    struct sample_weight weight;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t k = 0; k < sizeof(means) / sizeof(means[0]); k++) {
            double size = sizes[i] ? (double)sizes[i] : 1, p = -expm1(-size / (double)means[k]);

            sample_weigh(sizes[i], means[k], &weight);
            ck_assert_double_eq_tol((double)weight.blocks / (TALLY_PARTS / p), 1, 0.002);
            ck_assert(sizes[i] == 0 ? weight.bytes == 0
                                    : fabs((double)weight.bytes - size / p) < 1 + 1e-8 * size / p);
            ck_assert_double_eq_tol(weight.variance, (1 - p) / (p * p) * size * size,
                                    1e-6 * (1 + (1 - p) / (p * p) * size * size));
        }
    }
}
END_TEST

START_TEST(what_is_larger_than_the_mean_many_times_is_always_taken)
{
    struct sample_state state = {0};

    for (int i = 0; i < 10000; i++)
        ck_assert(sample_takes(&state, 4096 * 60, 4096));
    for (int i = 0; i < 1000; i++)
        ck_assert(sample_takes(&state, SIZE_MAX, 4096));
}
END_TEST

/* --- sums --------------------------------------------------------------------------------------------------------- */

#define RUNS   400
#define BLOCKS 3000

struct outcome {
    double bytes, blocks; /* mean of the estimates, over the truth */
    int covered;          /* runs whose 95 % interval holds the truth */
};

static struct outcome sample_runs(uint64_t mean, size_t (*size_of)(int i))
{
    struct outcome outcome = {0};
    double truth = 0;

    for (int i = 0; i < BLOCKS; i++)
        truth += (double)size_of(i);
    for (int run = 0; run < RUNS; run++) {
        struct sample_state state;
        double bytes = 0, blocks = 0, variance = 0;

        sample_begin(&state, 0x9e3779b97f4a7c15u * (uint64_t)(run + 1), mean);
        for (int i = 0; i < BLOCKS; i++) {
            struct sample_weight weight;
            if (!sample_takes(&state, size_of(i), mean))
                continue;
            sample_weigh(size_of(i), mean, &weight);
            bytes += (double)weight.bytes;
            blocks += (double)weight.blocks / TALLY_PARTS;
            variance += weight.variance;
        }
        outcome.bytes += bytes / truth / RUNS;
        outcome.blocks += blocks / BLOCKS / RUNS;
        outcome.covered += fabs(bytes - truth) <= 1.96 * sqrt(variance);
    }
    return outcome;
}

static size_t equal_sizes(int i)
{
    (void)i;
    return 48;
}

static size_t mixed_sizes(int i)
{
    return 16 + (size_t)(i * 7919 % 997) * (i % 10 == 0 ? 20 : 1);
}

static void expect(struct outcome outcome)
{
    ck_assert_double_eq_tol(outcome.bytes, 1, 0.02);
    ck_assert_double_eq_tol(outcome.blocks, 1, 0.03);
    ck_assert_int_ge(outcome.covered, RUNS * 90 / 100);
    ck_assert_int_le(outcome.covered, RUNS * 99 / 100);
}

START_TEST(estimates_are_unbiased_and_their_intervals_honest)
{
    expect(sample_runs(1024, equal_sizes));
    expect(sample_runs(2048, mixed_sizes));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sample");
    TCase *tests = tcase_create("sample");

    tcase_add_test(tests, weights_are_what_the_formula_says);
    tcase_add_test(tests, what_is_larger_than_the_mean_many_times_is_always_taken);
    tcase_add_test(tests, estimates_are_unbiased_and_their_intervals_honest);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
