/* SPDX-License-Identifier: MIT */
/*
 * check_capture.c - a stack taken by what the last one was is the stack that libunwind walks frame by frame.
 *
 * Built with -O2 and without frame pointers, like the programs it is for. The recorder's own frames lie in this program
 * here: so both captures are compared from the frame on that called the comparison.
 */
#include <alloca.h>
#include <check.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "tracer/record/capture.h"
#include "tracer/record/hot.h"
#include "tracer/record/record.h"
#include "tracer/record/sites.h"

#define NOINLINE  __attribute__((noinline))
#define BARRIER() __asm__ volatile("" ::: "memory")
#define DEPTH     300u

/* --- comparing ------------------------------------------------------------------------------------------------ */

/* Counted, not asserted: some comparisons are made in a signal handler. */
static unsigned compared, quick, freers, known, passed, freers_passed, disagreements;
static __thread uint32_t depth_seen, end_seen; /* of this thread's last comparison */

struct chain {
    uint32_t count, end;
    uint64_t ips[DEPTH + 64];
};

static void read_chain(uint32_t site, struct chain *ret)
{
    const struct site_node *node;

    ret->count = 0;
    for (; (node = sites_node(site)) != NULL; site = node->parent)
        ret->ips[ret->count++] = node->ip;
    ret->end = site;
}

#define INNER 8u /* at least what `b` below has of the recorder's own */

/* `a` begins with the caller's return address, outward from which `b` has the same, `most` frames of it. Of a stack that
 * is cut, or just not, `b` has fewer. */
static bool same_from(const struct chain *a, const struct chain *b, uint64_t caller, uint32_t most)
{
    uint32_t j = 0;

    while (j < b->count && b->ips[j] != caller)
        j++;
    uint32_t count = b->count - j;
    depth_seen = count;
    end_seen = b->end;
    if (most <= a->count && most <= count)
        return memcmp(a->ips, b->ips + j, most * sizeof(a->ips[0])) == 0;
    bool all = a->end == b->end && a->count == count;
    bool fewer = b->end == SITE_END_CUT && count > 0 && count <= a->count && count + INNER > DEPTH;
    if (!all && !fewer)
        return false;
    return memcmp(a->ips, b->ips + j, count * sizeof(a->ips[0])) == 0;
}

/* Its site if the stack is known without a walk, or 0. */
static uint32_t known_site(struct context *context, const struct record_caller *caller)
{
    const struct known_call *call = context->epoch == modules_epoch() ? record_known(context, caller) : NULL;

    return call ? call->site : 0;
}

/* In passing a site is the one that it is found to be otherwise, or none. */
static void count_passed(unsigned *count, uint32_t in_passing, uint32_t site)
{
    __atomic_add_fetch(count, in_passing != 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&disagreements, in_passing != 0 && in_passing != site, __ATOMIC_RELAXED);
}

static NOINLINE void compare(void)
{
    static __thread struct chain freer, one, other;
    struct context *context = context_get();
    struct record_caller caller = record_caller();
    uint32_t at_once = known_site(context, &caller), in_passing = 0, freer_in_passing = 0;
    if (context->epoch == modules_epoch()) {
        in_passing = record_pass_call(context, caller.ip, caller.rsp, caller.rbp);
        freer_in_passing = record_pass_free(context, caller.ip, caller.rsp, caller.rbp);
    }
    uint32_t freer_site = capture_freer(context, &caller);
    uint32_t site = capture_quickly(context, &caller);

    __atomic_add_fetch(&compared, 1, __ATOMIC_RELAXED);
    count_passed(&passed, in_passing, site);
    count_passed(&freers_passed, freer_in_passing, freer_site);
    if (site == 0)
        return;
    __atomic_add_fetch(&quick, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&known, at_once != 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&disagreements, at_once != 0 && at_once != site, __ATOMIC_RELAXED);
    read_chain(site, &one);
    read_chain(capture_in_full(context, DEPTH, false), &other);
    if (!same_from(&one, &other, caller.ip, UINT32_MAX))
        __atomic_add_fetch(&disagreements, 1, __ATOMIC_RELAXED);
    read_chain(freer_site, &freer);
    if (freer_site &&
        (freer.count > RECORD_FREE_DEPTH ||
         !same_from(&freer, &other, caller.ip, freer.end == SITE_END_CUT ? RECORD_FREE_DEPTH : UINT32_MAX)))
        __atomic_add_fetch(&disagreements, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&freers, freer_site != 0, __ATOMIC_RELAXED);
}

static void expect_agreement(unsigned at_least)
{
    ck_assert_uint_ge(compared, at_least);
    ck_assert_uint_eq(disagreements, 0);
    ck_assert_uint_ge(freers, compared / 10 * 9);
}

/* --- programs of random shape --------------------------------------------------------------------------------- */

static __thread uint64_t state;
static __thread unsigned budget;

static uint32_t next_random(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1du >> 32);
}

static void wander(unsigned depth);

#define SHAPE(name, before, after)                                                                           \
    static NOINLINE int name(unsigned depth)                                                                 \
    {                                                                                                        \
        before;                                                                                              \
        wander(depth);                                                                                       \
        BARRIER();                                                                                           \
        after;                                                                                               \
    }
SHAPE(small_frame, (void)0, return (int)depth)
SHAPE(twice, wander(depth), return (int)depth)
SHAPE(large_frame, volatile char room[900]; room[depth] = 1, return room[depth])
SHAPE(grown_frame, volatile char *room = alloca(17 + next_random() % 700); room[0] = 1, return room[0])
SHAPE(realigned_frame, _Alignas(64) volatile char room[128]; room[depth % 64] = 1, return room[depth % 64])

static NOINLINE int many_registers(unsigned depth)
{
    unsigned a = next_random(), b = a * 3, c = a ^ 77, d = a + 5, e = a | 1;

    wander(depth);
    compare();
    wander(depth);
    BARRIER();
    return (int)(a + b + c + d + e);
}

static int (*const shapes[])(unsigned) = {small_frame, twice,           large_frame,
                                          grown_frame, realigned_frame, many_registers};

/* Deeper, or not; compared now and then. */
static NOINLINE void wander(unsigned depth)
{
    if (budget == 0)
        return;
    if (next_random() % 3 == 0) {
        budget--;
        compare();
    }
    if (depth > 0 && next_random() % 8 != 0)
        (void)shapes[next_random() % (sizeof(shapes) / sizeof(shapes[0]))](depth - 1);
    BARRIER();
}

static void wander_about(uint64_t seed, unsigned comparisons)
{
    state = seed;
    budget = comparisons;
    while (budget > 0)
        wander(40);
}

START_TEST(random_programs_have_the_stacks_that_libunwind_finds)
{
    uint64_t seed = 1000 + (uint64_t)_i;

    printf("seed %llu\n", (unsigned long long)seed);
    wander_about(seed, 3000);
    expect_agreement(3000);
    ck_assert_uint_ge(quick, compared - 100);
}
END_TEST

static void *wander_in_thread(void *arg)
{
    wander_about((uint64_t)(uintptr_t)arg, 1000);
    context_release();
    return arg;
}

/* Each takes a context over that knows another thread's stack, often at the same addresses. */
START_TEST(threads_do_not_believe_their_predecessors)
{
    for (unsigned i = 0; i < 20; i++) {
        pthread_t threads[3];
        for (unsigned t = 0; t < 3; t++)
            ck_assert_int_eq(
                pthread_create(&threads[t], NULL, wander_in_thread, (void *)(uintptr_t)(7 + i * 3 + t)), 0);
        for (unsigned t = 0; t < 3; t++)
            pthread_join(threads[t], NULL);
    }
    expect_agreement(60000);
}
END_TEST

/* --- what is hard to see --------------------------------------------------------------------------------------- */

static NOINLINE void inner(void)
{
    compare();
    BARRIER();
}

/* The same function from two places of one frame: only an outer return address tells. */
static NOINLINE void middle(void)
{
    inner();
    BARRIER();
}

static NOINLINE void outer(bool other)
{
    if (other)
        middle();
    else
        middle();
    BARRIER();
}

START_TEST(an_outer_return_address_alone_tells_two_stacks)
{
    for (unsigned i = 0; i < 200; i++)
        outer(i % 3 == 0);
    expect_agreement(200);
    ck_assert_uint_eq(quick, compared);
}
END_TEST

/* --- what is known without a walk ------------------------------------------------------------------------------- */

/* One place, at one rsp, that is called from several. */
static NOINLINE void allocating(void (*call)(void))
{
    call();
    BARRIER();
}

/* What follows differs, so that the calls are not made one. */
#define FROM(n)                                                                                              \
    case n:                                                                                                  \
        allocating(call);                                                                                    \
        __asm__ volatile("" : : "i"(n));                                                                     \
        break;

static NOINLINE void from_one_of(unsigned place, void (*call)(void))
{
    switch (place) {
        FROM(0) FROM(1) FROM(2) FROM(3) FROM(4) FROM(5) FROM(6) FROM(7);
        FROM(8) FROM(9) FROM(10) FROM(11) FROM(12) FROM(13) FROM(14) FROM(15);
    default:
        allocating(call);
    }
    BARRIER();
}

/* Kept: so many calls that were not known. */
static uint32_t captured(void)
{
    return context_get()->call_index.next;
}

static NOINLINE void take(void)
{
    struct record_caller caller = record_caller();

    if (known_site(context_get(), &caller) == 0)
        (void)capture_quickly(context_get(), &caller);
}

START_TEST(calls_of_one_place_are_told_apart_by_who_called_it)
{
    static uint32_t so_far[1600];

    for (unsigned i = 0; i < 1600; i++) {
        from_one_of(i * 7 % 16, take);
        so_far[i] = captured();
    }
    ck_assert_uint_gt(so_far[63], 16);
    ck_assert_uint_eq(so_far[1599], so_far[63]);
    for (unsigned i = 0; i < 200; i++)
        from_one_of(i % 16, compare);
    expect_agreement(200);
}
END_TEST

/* More than are kept: the oldest make room, and nobody takes one for another. */
START_TEST(more_calls_than_are_kept)
{
    uint64_t seed = 4000 + (uint64_t)_i;

    printf("seed %llu\n", (unsigned long long)seed);
    wander_about(seed, 12000);
    ck_assert(context_get()->call_index.is_full);
    for (unsigned i = 0; i < 64; i++)
        from_one_of(i % 16, compare);
    expect_agreement(12000);
    ck_assert_uint_gt(known, 40);
}
END_TEST

/* More than are kept, again and again: most are told in passing, whatever the last stack is. */
START_TEST(stacks_that_come_again_are_told_in_passing)
{
    for (unsigned round = 0; round < 3; round++)
        wander_about(5000, 6000);
    expect_agreement(18000);
    ck_assert_uint_gt(passed, compared / 10 * 6);
    ck_assert_uint_gt(freers_passed, compared / 10 * 6);
}
END_TEST

/* What malloc and free do: known, or told in passing, or walked and kept. */
static NOINLINE void take_and_give(void)
{
    struct context *context = context_get();
    struct record_caller caller = record_caller();

    if (known_site(context, &caller) == 0 &&
        record_pass_call(context, caller.ip, caller.rsp, caller.rbp) == 0)
        (void)capture_quickly(context, &caller);
    (void)record_capture_free(&caller);
}

/* All that is near is the same, so they have one hash, and one bucket of KNOWN_SLOTS. */
static NOINLINE void far_from_its_caller(void)
{
    allocating(take_and_give);
    BARRIER();
}

START_TEST(of_more_than_there_is_room_for_few_are_kept)
{
    const struct context *context = context_get();
    uint32_t calls = 0, frees = 0;

    state = 9;

    for (unsigned i = 0; i < 8000; i++) {
        if (i == 400) {
            calls = captured();
            frees = context->free_index.next;
        }
        from_one_of(next_random() % 16, far_from_its_caller);
    }
    calls = captured() - calls;
    frees = context->free_index.next - frees;
    ck_assert_uint_gt(calls, 20); /* or those that came first would stay for ever */
    ck_assert_uint_gt(frees, 20);
    ck_assert_uint_lt(calls, 7600 / 10);
    ck_assert_uint_lt(frees, 7600 / 10);
}
END_TEST

static unsigned places(void)
{
    const struct context *context = context_get();
    unsigned count = 0;

    for (unsigned i = 0; i < KNOWN_PLACES; i++)
        count += context->places[i].ip != 0;
    return count;
}

/* A place is forgotten with the code that was there. */
START_TEST(what_tells_calls_apart_is_forgotten_with_the_modules)
{
    for (unsigned i = 0; i < 64; i++)
        from_one_of(i % 16, compare);
    ck_assert_uint_gt(places(), 0);
    record_modules_changed();
    compare();
    ck_assert_uint_eq(places(), 0);
    for (unsigned i = 0; i < 64; i++)
        from_one_of(i % 16, compare);
    expect_agreement(129);
}
END_TEST

static sigjmp_buf back;

static NOINLINE int leave(unsigned depth)
{
    if (depth == 0) {
        compare();
        siglongjmp(back, 1);
    }
    (void)leave(depth - 1);
    BARRIER();
    return 1;
}

START_TEST(frames_that_a_jump_left_are_forgotten)
{
    static unsigned i;

    for (i = 0; i < 300; i++) {
        if (sigsetjmp(back, 0) == 0)
            (void)leave(i % 7);
        compare();
        outer(i % 2);
    }
    expect_agreement(900);
}
END_TEST

static NOINLINE int deep(unsigned depth)
{
    int below = depth > 0 ? deep(depth - 1) : (compare(), 0);

    BARRIER();
    return below + 1;
}

/* Past the limit a stack is its innermost frames; back above it, all is as before. */
START_TEST(a_stack_deeper_than_the_limit_is_its_innermost_frames)
{
    deep(200);
    deep(10000);
    ck_assert_uint_eq(end_seen, SITE_END_CUT);
    deep(250);
    ck_assert_uint_gt(depth_seen, 250);
    ck_assert_uint_eq(end_seen, SITE_END_COMPLETE);
    ck_assert_uint_eq(quick, 3);
    expect_agreement(3);
}
END_TEST

static NOINLINE int looked_at_all_the_way(int depth, int more)
{
    compare();
    int below = depth > 0 ? looked_at_all_the_way(depth - 1, more) : 0;
    if (depth % 100 == 50 && more > 0)
        below += looked_at_all_the_way(90, more - 1);
    compare();
    BARRIER();
    return below + 1;
}

START_TEST(down_and_up_across_the_limit)
{
    looked_at_all_the_way(2500, 1);
    ck_assert_uint_eq(quick, compared);
    expect_agreement(5000);
}
END_TEST

static void on_signal(int number)
{
    (void)number;
    wander(6);
    compare();
}

START_TEST(through_a_signal_s_frame)
{
    static char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};

    ck_assert_int_eq(sigaltstack(&alternate, NULL), 0);
    ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    state = 5;
    budget = 3000;
    for (unsigned i = 0; i < 200; i++) {
        outer(i % 2);
        raise(SIGUSR1);
    }
    expect_agreement(400);
}
END_TEST

/* --- coroutines: two stacks, and stacks that come and go at one place ----------------------------------------- */

static ucontext_t main_context, coroutine;

static void in_coroutine(void)
{
    for (unsigned i = 0; i < 5; i++) {
        wander(5);
        compare();
        swapcontext(&coroutine, &main_context);
    }
}

START_TEST(coroutines_have_their_own_stacks)
{
    static char stack[131072] __attribute__((aligned(16)));

    static unsigned i;

    state = 11;
    budget = 100000;
    for (i = 0; i < 40; i++) {
        memset(stack, (int)i, sizeof(stack));
        getcontext(&coroutine);
        coroutine.uc_stack.ss_sp = stack;
        coroutine.uc_stack.ss_size = sizeof(stack) - (i % 3) * 4096;
        coroutine.uc_link = &main_context;
        makecontext(&coroutine, in_coroutine, 0);
        for (unsigned k = 0; k < 4; k++) {
            swapcontext(&main_context, &coroutine);
            compare();
            wander(3);
        }
    }
    expect_agreement(320);
}
END_TEST

/* --- life -------------------------------------------------------------------------------------------------------- */

static void *own_blocks[64]; /* where LeakSanitizer finds what the recorder keeps in memory of its own */

static void keep_block(void *block)
{
    static unsigned count;

    own_blocks[__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED) % 64] = block;
}

/* No frame is left out: all of them are compared. What was taken before that is forgotten. */
static void start_recorder(void)
{
    struct record_config config = {.depth_limit = DEPTH, .own_block = keep_block, .trace = ""};
    const struct code_object none = {0};
    const char *why = "";

    ck_assert_msg(record_start(&config, &why), "%s", why);
    capture_start(&none);
    record_modules_changed();
}

int main(void)
{
    Suite *suite = suite_create("capture");
    TCase *tests = tcase_create("capture");

    tcase_add_unchecked_fixture(tests, start_recorder, NULL);
    tcase_add_checked_fixture(tests, record_before_thread,
                              NULL); /* each test is a child that nobody told of */
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, random_programs_have_the_stacks_that_libunwind_finds, 0, 8);
    tcase_add_test(tests, threads_do_not_believe_their_predecessors);
    tcase_add_test(tests, an_outer_return_address_alone_tells_two_stacks);
    tcase_add_test(tests, calls_of_one_place_are_told_apart_by_who_called_it);
    tcase_add_loop_test(tests, more_calls_than_are_kept, 0, 3);
    tcase_add_test(tests, of_more_than_there_is_room_for_few_are_kept);
    tcase_add_test(tests, stacks_that_come_again_are_told_in_passing);
    tcase_add_test(tests, what_tells_calls_apart_is_forgotten_with_the_modules);
    tcase_add_test(tests, frames_that_a_jump_left_are_forgotten);
    tcase_add_test(tests, a_stack_deeper_than_the_limit_is_its_innermost_frames);
    tcase_add_test(tests, down_and_up_across_the_limit);
    tcase_add_test(tests, through_a_signal_s_frame);
    tcase_add_test(tests, coroutines_have_their_own_stacks);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
