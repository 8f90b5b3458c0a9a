/* SPDX-License-Identifier: MIT */
/*
 * frag_loop.h - from the exec to the end of one run: what frag_run.c starts and frag_loop.c follows. Internal to frag.
 *
 *    RUNNING --program ends--> ENDED
 *       | --during command ends
 *    SETTLING --settle time is over: end sample--> ENDING --program ends (killed when it does not in time)--> ENDED
 *
 * Without --during it is RUNNING to its end.
 */
#ifndef HEAPTALLY_FRAG_LOOP_H
#define HEAPTALLY_FRAG_LOOP_H

#include <sys/types.h>

#include "tracer/tool/frag_run.h"
#include "tracer/tool/frag_watch.h"

enum frag_phase { FRAG_RUNNING, FRAG_SETTLING, FRAG_ENDING, FRAG_ENDED };

struct frag_loop {
    struct frag_runner *runner;
    struct frag_run *run;
    struct frag_account *account; /* NULL: a timed run */
    struct account_page *page;
    pid_t pid, during; /* during 0: none, or over */
    enum frag_phase phase;
    double began, paused; /* monotonic seconds; `paused`: spent standing still */
    double phase_until;
    struct frag_watch watch;
    bool killed;
    uint64_t ledger_most; /* of all looks */
    uint64_t looked;      /* anonymous bytes of the fattest look */
    double step;          /* to the next record that is worth a look */
    uint32_t images;      /* of the page */
};

/* Until the program has ended; everything it leaves is in *loop->run and *loop->account. false: memory is out. */
bool frag_loop_follow(struct frag_loop *loop);

/* --- frag_look.c: the accounting run's heap ---------------------------------------------------------------- */

/* The page says that a thread stands still: look, set the next trigger, let it go on. */
void frag_look_answer(struct frag_loop *loop);
/* Its anonymous memory has grown since the fattest look, without a record of live bytes: look. */
void frag_look_fat(struct frag_loop *loop);
/* The end is now, at no word of the program's: stop it, look, let it go on. */
void frag_look_end(struct frag_loop *loop);

#endif
