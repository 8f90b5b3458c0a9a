/* SPDX-License-Identifier: MIT */
/* toys.c - the scheduler looked at itself: see toys_explore() in scheduler.h. */
#include <stdio.h>

#include "allocator/atomics.h"
#include "allocator/platform.h"

#include "tests/interleave/scheduler.h"

/* Two variables and a lock, and what the threads read: few steps, so that all orders can be tried without reduction. */
static uint64_t toy_x, toy_y, toy_read[3];
static struct platform_lock toy_lock;

static void toy_setup(void)
{
}

static void toy_store_x_read_y(void)
{
    store_relaxed(&toy_x, 1);
    toy_read[0] = load_relaxed(&toy_y);
}

static void toy_store_y_read_x(void)
{
    store_relaxed(&toy_y, 1);
    toy_read[1] = load_relaxed(&toy_x);
}

static void toy_locked_add(void)
{
    platform_lock(&toy_lock);
    store_relaxed(&toy_y, load_relaxed(&toy_y) + 2);
    platform_unlock(&toy_lock);
}

static void toy_locked_copy(void)
{
    platform_lock(&toy_lock);
    toy_read[2] = load_relaxed(&toy_y);
    platform_unlock(&toy_lock);
    store_relaxed(&toy_x, 0);
}

static void toy_swap(void)
{
    uint64_t seen = load_relaxed(&toy_x);
    while (!cas_weak_acq_rel(&toy_x, &seen, seen ^ 1))
        ;
}

static void toy_check(void)
{
    scheduler_outcome((unsigned)((toy_x & 1) | (toy_y & 3) << 1 | (toy_read[0] & 1) << 3 |
                                 (toy_read[1] & 1) << 4 | (toy_read[2] != 0) << 5));
}

static const struct scenario toys[] = {
    {"toy-store-buffers", toy_setup, {toy_store_x_read_y, toy_store_y_read_x, toy_swap}, toy_check},
    {"toy-lost-update", toy_setup, {toy_store_y_read_x, toy_locked_add, toy_store_x_read_y}, toy_check},
    {"toy-locks", toy_setup, {toy_locked_add, toy_locked_copy, toy_store_y_read_x}, toy_check},
    {"toy-two-locked", toy_setup, {toy_locked_add, toy_locked_copy, toy_locked_add}, toy_check},
};

static bool toy_agrees(const struct scenario *toy)
{
    struct exploration reduced, naive;
    scheduler_explore(toy, 0, true, &reduced);
    scheduler_explore(toy, 0, false, &naive);
    bool same = reduced.complete && naive.complete && reduced.outcomes == naive.outcomes;
    printf("%-34s %9llu schedules for %llu: %d outcomes, %s\n", toy->name,
           (unsigned long long)reduced.schedules, (unsigned long long)naive.schedules,
           __builtin_popcountll(reduced.outcomes), same ? "all" : "some are MISSED");
    return same;
}

unsigned toys_explore(unsigned *ret_count)
{
    unsigned failed = 0;
    *ret_count = sizeof toys / sizeof *toys;
    for (unsigned i = 0; i < *ret_count; i++)
        failed += !toy_agrees(&toys[i]);
    return failed;
}
