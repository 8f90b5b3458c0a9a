/* SPDX-License-Identifier: MIT */
/*
 * check_fault.c - kernel calls that fail: each of those that a trace of 10,000 operations makes.
 *
 *   the trace, by a seed:  model steps (malloc, zeroed, aligned, realloc, free; small, spans, mappings)
 *                          a thread that takes over some steps and ends | purge | a change of decay | everything freed
 *   a run:  a forked child, hence a virgin allocator; plays the trace with one way of failing; then everything is
 *           freed, memory can be had again, all of it has gone back, verify is clean
 *
 * A child says by its exit code how it went. One failed call may refuse at most one request: another way is
 * tried, or what is empty is given back first. HEAPTALLY_STEPS lengthens the trace, HEAPTALLY_EVERY=1 fails each call
 * in each way (`make fault-long`); the quick run fails each mapping, unmapping and remapping once, and else a part.
 */
#include "tests/unit/model.h"

#include <pthread.h>
#include <sys/wait.h>

#include "allocator/platform.h"

#define FOR_EVER UINT64_MAX

static struct model model;

/* --- the trace ------------------------------------------------------------------------------------------ */

static uint64_t trace_steps(void)
{
    return model_setting("HEAPTALLY_STEPS", 10000);
}

static void verify_or_die(void)
{
    if (alloc_verify(help_complain, NULL) != 0)
        _exit(2);
}

static void *short_life(void *arg)
{
    for (int i = 0; i < 50; i++)
        model_step(&model);
    alloc_thread_exit();
    return arg;
}

/* Steps of a thread that ends at once: its pools are left for adoption, with blocks that others will free. */
static void let_a_thread_live(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, short_life, NULL) == 0)
        pthread_join(thread, NULL);
}

/* The decay is 0 (every return happens at once) or "never": little depends on the clock, and nearly the same calls
 * are made each time. */
static void trace_play(uint64_t seed, uint64_t verify_every)
{
    model_seed(&model, seed);
    model.sizes = SIZES_BIG;
    model.may_fail = true;
    alloc_set_decay(-1);
    for (uint64_t step = 0; step < trace_steps(); step++) {
        if (step % 500 == 100)
            let_a_thread_live();
        if (step % 700 == 200)
            (void)alloc_purge();
        if (step % 1000 == 300 || step % 1000 == 450)
            alloc_set_decay(step % 1000 == 300 ? 0 : -1);
        if (step % 2500 == 2400)
            model_free_all(&model);
        model_step(&model);
        if (step % verify_every == 0)
            verify_or_die();
    }
}

/* --- afterwards ----------------------------------------------------------------------------------------- */

static void expect_memory_can_be_had(void)
{
    static const size_t size[] = {1, 100, 5000, 40000, MODEL_MIB, 5 * MODEL_MIB};
    for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
        unsigned char *p = alloc_malloc(size[i]);
        MODEL_EXPECT(p != NULL);
        p[0] = p[size[i] - 1] = 1;
        MODEL_EXPECT(alloc_free(p) == ALLOC_OK);
    }
}

/* All address space but one chunk (and what a mapping of ours needs to be remembered) is back. */
static void expect_nothing_is_lost(void)
{
    struct alloc_stats stats;
    for (int i = 0; i < 2; i++)
        (void)alloc_purge();
    alloc_stats_read(&stats);
    MODEL_EXPECT(stats.live_blocks == 0);
    MODEL_EXPECT(stats.cached == 0);
    MODEL_EXPECT(stats.mapped <= 2 * CHUNK_SIZE);
}

static uint64_t address_space_kb(void)
{
    uint64_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        _exit(3);
    fclose(file);
    return pages * 4;
}

static void trace_end(void)
{
    (void)platform_fail_nth(0);
    verify_or_die();
    model_free_all(&model);
    alloc_set_decay(0);
    expect_memory_can_be_had();
    expect_nothing_is_lost();
    verify_or_die();
}

/* --- runs ----------------------------------------------------------------------------------------------- */

struct fault {
    unsigned kinds;
    uint64_t first, count;
    uint64_t refused_most; /* requests that may get NULL */
};

struct outcome {
    uint64_t calls, refused, space_kb;
};

/* The child's outcome comes over a pipe: all else is as it was before. */
static void run_in_child(uint64_t seed, const struct fault *fault, int pipe_end)
{
    struct outcome outcome = {.space_kb = 0};
    alarm(60);
    uint64_t before = address_space_kb();
    if (fault != NULL)
        (void)platform_fail_some(fault->kinds, fault->first, fault->count);
    else
        (void)platform_fail_nth(0);
    trace_play(seed, fault == NULL || fault->first % 8 == 0 ? 100 : 1000);
    outcome.calls = platform_fail_nth(0);
    outcome.refused = model.refused;
    trace_end();
    outcome.space_kb = address_space_kb() - before;
    if (write(pipe_end, &outcome, sizeof outcome) != sizeof outcome)
        _exit(4);
    _exit(0);
}

static struct outcome run(uint64_t seed, const struct fault *fault)
{
    struct outcome outcome;
    int ends[2], status = -1;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        run_in_child(seed, fault, ends[1]);
    close(ends[1]);
    bool whole = read(ends[0], &outcome, sizeof outcome) == sizeof outcome;
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (status != 0 || !whole)
        ck_abort_msg("seed %llu, kinds %u, call %llu, %llu in a row: status %x", (unsigned long long)seed,
                     fault == NULL ? 0 : fault->kinds, (unsigned long long)(fault == NULL ? 0 : fault->first),
                     (unsigned long long)(fault == NULL ? 0 : fault->count), (unsigned)status);
    return outcome;
}

static void run_and_judge(uint64_t seed, const struct fault *fault, const struct outcome *clean)
{
    struct outcome outcome = run(seed, fault);
    if (outcome.refused > fault->refused_most)
        ck_abort_msg("kinds %u, call %llu: %llu requests were refused", fault->kinds,
                     (unsigned long long)fault->first, (unsigned long long)outcome.refused);
    /* What was mapped and then could be neither used nor unmapped would show here: a chunk or more. */
    if (outcome.space_kb > clean->space_kb + 4096)
        ck_abort_msg("kinds %u, call %llu: %llu KiB of address space more than without a failure",
                     fault->kinds, (unsigned long long)fault->first,
                     (unsigned long long)(outcome.space_kb - clean->space_kb));
}

static uint64_t every(uint64_t otherwise)
{
    return model_setting("HEAPTALLY_EVERY", HELP_ASAN || HELP_TSAN ? otherwise * 16 : otherwise);
}

/* Runs whose fault has this shape, at each `stride`-th call of its kinds. */
static void fail_at_each(uint64_t seed, struct fault fault, uint64_t stride)
{
    struct outcome clean = run(seed, NULL);
    struct fault none = {.kinds = fault.kinds, .first = FOR_EVER, .count = 1};
    uint64_t calls = run(seed, &none).calls, runs = 0;
    ck_assert_uint_ge(calls, 10);
    for (fault.first = 1; fault.first <= calls; fault.first += stride, runs++)
        run_and_judge(seed, &fault, &clean);
    fprintf(stderr, "  kinds %u, %llu in a row: %llu calls in the trace, %llu made to fail\n", fault.kinds,
            (unsigned long long)fault.count, (unsigned long long)calls, (unsigned long long)runs);
}

/* --- tests ---------------------------------------------------------------------------------------------- */

START_TEST(the_trace_makes_many_calls_of_every_kind)
{
    for (unsigned kind = PLATFORM_MAP; kind < PLATFORM_ALL; kind *= 2) {
        struct fault none = {.kinds = kind, .first = FOR_EVER, .count = 1};
        struct outcome outcome = run(1, &none);
        fprintf(stderr, "  kind %u: %llu calls\n", kind, (unsigned long long)outcome.calls);
        ck_assert_uint_ge(outcome.calls, kind == PLATFORM_REMAP ? 3 : 20);
        ck_assert_uint_eq(outcome.refused, 0);
    }
}
END_TEST

/* Purges are many and alike. */
START_TEST(each_kernel_call_failing_alone_refuses_one_request_at_most)
{
    unsigned others = PLATFORM_MAP | PLATFORM_UNMAP | PLATFORM_REMAP;
    fail_at_each(1, (struct fault){.kinds = others, .count = 1, .refused_most = 1}, every(1));
    fail_at_each(1, (struct fault){.kinds = PLATFORM_PURGE, .count = 1, .refused_most = 0}, every(16));
}
END_TEST

START_TEST(each_kernel_call_and_all_after_it_failing_loses_nothing)
{
    fail_at_each(2, (struct fault){.kinds = PLATFORM_ALL, .count = FOR_EVER, .refused_most = FOR_EVER},
                 every(16));
}
END_TEST

START_TEST(mapping_that_fails_three_times_running_loses_nothing)
{
    fail_at_each(3, (struct fault){.kinds = PLATFORM_MAP, .count = 3, .refused_most = 3}, every(4));
}
END_TEST

START_TEST(giving_back_may_fail_for_ever)
{
    static const unsigned kinds[] = {PLATFORM_UNMAP, PLATFORM_PURGE, PLATFORM_UNMAP | PLATFORM_PURGE,
                                     PLATFORM_REMAP};
    struct outcome clean = run(4, NULL);
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct fault fault = {.kinds = kinds[i], .first = 1, .count = FOR_EVER, .refused_most = 0};
        run_and_judge(4, &fault, &clean);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fault");
    TCase *tests = tcase_create("kernel calls that fail");
    tcase_set_timeout(tests, 0);
    tcase_add_test(tests, the_trace_makes_many_calls_of_every_kind);
    tcase_add_test(tests, each_kernel_call_failing_alone_refuses_one_request_at_most);
    tcase_add_test(tests, each_kernel_call_and_all_after_it_failing_loses_nothing);
    tcase_add_test(tests, mapping_that_fails_three_times_running_loses_nothing);
    tcase_add_test(tests, giving_back_may_fail_for_ever);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
