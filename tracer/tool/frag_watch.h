/* SPDX-License-Identifier: MIT */
/*
 * frag_watch.h - a process's memory from outside, as often as it may be read.
 *
 *    every interval        stat (which image), status (high-water mark), statm (RSS, shared): cheap, no lock of the program's
 *    when its cost allows  smaps_rollup: exact, LazyFree; and by how much statm is off
 *
 * statm sums counters that processors hand in late, so it wavers by some hundred KiB; what it is off at a rollup is added until
 * the next one. A rollup walks the program's page tables, so it comes at most every twentieth of its own cost, in processor
 * time: by the clock, a reading that lost its processor would hide what follows.
 */
#ifndef HEAPTALLY_FRAG_WATCH_H
#define HEAPTALLY_FRAG_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/frag/sample.h"

struct frag_watch {
    int pid;
    unsigned interval_ms;
    double began; /* frag_now() of the exec */

    struct frag_sample last; /* its time is the caller's */
    bool seen;               /* `last` holds a reading */
    bool renewed;  /* the last reading was the first of another image: what was before is not the program's */
    bool children; /* it had some at a rollup */
    uint64_t high_water; /* the kernel's */
    uint64_t most;       /* RSS of the fattest rollup */
    uint64_t image;
    double next, next_rollup;
    int64_t rss_off, anonymous_off; /* of statm, at the last rollup */
};

double frag_now(void); /* monotonic seconds */
/* true: `last` is new. `now`: all of it, due or not. */
bool frag_watch_read(struct frag_watch *watch, bool now);

#endif
