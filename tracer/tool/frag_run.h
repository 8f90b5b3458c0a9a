/* SPDX-License-Identifier: MIT */
/*
 * frag_run.h - one run of the program: started, sampled from outside, and, in the accounting run, looked into.
 *
 *    exec --> sampled every few ms ------------------------------------------------> it ends
 *    exec --> sampled, --during command runs --> settle --> `end` sample --> SIGTERM --> it ends
 *
 * A timed run is only read: smaps_rollup and status, spaced so that reading takes at most a twentieth of one processor.
 * The accounting run counts on a page that it shares with us (tracer/format/account.h); when live bytes or its RSS set a
 * record it stands still and its heap is walked. That time is taken off its clock.
 */
#ifndef HEAPTALLY_FRAG_RUN_H
#define HEAPTALLY_FRAG_RUN_H

#include <stdbool.h>

#include "tracer/frag/study.h"
#include "tracer/tool/launch.h"
#include "tracer/tool/options.h"

struct frag_runner {
    const struct tool_options *options;
    struct target target;
    struct launch launch;
    int null;        /* /dev/null */
    int input;       /* the program's stdin of this run */
    int interrupted; /* the signal that told us to stop; 0 */
    bool shown;      /* a run's output was shown */
};

/* false: we failed, and said so; a program that fails is told in *run. `account` NULL: a timed run. */
bool frag_run_timed(struct frag_runner *runner, const char *name, const char *library, bool ours,
                    struct frag_run *run);
bool frag_run_account(struct frag_runner *runner, const char *library, struct frag_account *account);

#endif
