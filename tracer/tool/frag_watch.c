/* SPDX-License-Identifier: MIT */
#include "tracer/tool/frag_watch.h"

#include <stdio.h>
#include <time.h>

#define ROLLUP_SHARE  20.0        /* a rollup is followed by so many times its cost without one */
#define ROLLUP_MOST_S 1.0         /* but not more */
#define STILL         (16u << 10) /* bytes that a program may grow by while its rollup is read */
#define YOUNG_SHARE   10.0 /* readings come after this part of the program's age, until the interval is less */
#define YOUNG_LEAST_S 0.0005

static double clock_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double frag_now(void)
{
    return clock_seconds(CLOCK_MONOTONIC);
}

static bool has_children(int pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return false;
    int c = getc(in);
    fclose(in);
    return c != EOF;
}

/* An exec between the two readings would give the new image the old one's mark. */
static uint64_t high_water_of(int pid, uint64_t *ret_image)
{
    uint64_t high = 0, image = frag_image(pid), before;
    do {
        before = image;
        high = frag_high_water(pid);
        image = frag_image(pid);
    } while (image != before);
    *ret_image = image;
    return high;
}

static bool read_marks(struct frag_watch *watch)
{
    uint64_t image, high = high_water_of(watch->pid, &image);
    if (high == 0 || image == 0)
        return false;
    watch->renewed = image != watch->image;
    if (watch->renewed)
        watch->high_water = watch->most = 0;
    watch->image = image;
    watch->high_water = high > watch->high_water ? high : watch->high_water;
    return true;
}

static uint64_t added(uint64_t value, int64_t off)
{
    int64_t sum = (int64_t)value + off;
    return sum > 0 ? (uint64_t)sum : 0;
}

/* What statm is off, told by a rollup between two readings of it. In a program that grew meanwhile the three are of different
 * moments, and the older answer stays. */
static void learn_off(struct frag_watch *watch, uint64_t rss, uint64_t anonymous)
{
    uint64_t rss_now, anonymous_now;
    if (!frag_statm_read(watch->pid, &rss_now, &anonymous_now) || rss_now - rss + STILL > 2 * STILL)
        return;
    watch->rss_off = (int64_t)watch->last.rss - (int64_t)rss;
    watch->anonymous_off = (int64_t)watch->last.anonymous - (int64_t)anonymous;
}

static bool read_rollup(struct frag_watch *watch)
{
    uint64_t rss = 0, anonymous = 0;
    double began = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
    bool both = frag_statm_read(watch->pid, &rss, &anonymous);
    if (!frag_rollup_read(watch->pid, &watch->last))
        return false;
    if (both)
        learn_off(watch, rss, anonymous);
    watch->most = watch->last.rss > watch->most ? watch->last.rss : watch->most;
    watch->children |= has_children(watch->pid);
    double cost = (clock_seconds(CLOCK_THREAD_CPUTIME_ID) - began) * ROLLUP_SHARE;
    watch->next_rollup = frag_now() + (cost < ROLLUP_MOST_S ? cost : ROLLUP_MOST_S);
    return true;
}

static bool read_statm(struct frag_watch *watch)
{
    uint64_t rss, anonymous;
    if (!frag_statm_read(watch->pid, &rss, &anonymous))
        return false;
    watch->last.rss = added(rss, watch->rss_off);
    watch->last.anonymous = added(anonymous, watch->anonymous_off);
    return true;
}

bool frag_watch_read(struct frag_watch *watch, bool now)
{
    double time = frag_now(), interval = watch->interval_ms / 1000.0;
    double young = (time - watch->began) / YOUNG_SHARE; /* a short program is to be seen, too */
    if (!now && time < watch->next)
        return false;
    young = young < YOUNG_LEAST_S ? YOUNG_LEAST_S : young;
    watch->next = time + (young < interval ? young : interval);
    if (!read_marks(watch))
        return false;
    bool whole = now || watch->renewed || time >= watch->next_rollup;
    if (!(whole ? read_rollup(watch) : read_statm(watch)))
        return false;
    watch->seen = true;
    return true;
}
