/* SPDX-License-Identifier: MIT */
/*
 * freeze.h - inside the freeze: what freeze.c, snapshot.c and ways_out.c share. preload.h has what others may
 * call.
 *
 *    freeze_check (this process stands still)        snapshot_take (a copy stands still)
 *            \                                            /
 *             freeze_lock -> park_others -> freeze_describe -> CHECK -> serve -> park_release ->
 * freeze_unlock
 *
 * The freeze lock guards the channel, the park table and the static buffers of tasks.c and serve.c. Who waits
 * for it can be parked meanwhile. It is first in the lock order (fork.c) and, while it is held by a freeze,
 * all signals are blocked in the holder: no handler of the program runs while the threads that it may wait
 * for stand.
 *
 * Only the process that freeze_start() or a fork handler saw does anything here: a vfork child, or one of a
 * raw clone, has another number and shares or copies memory that speaks of its parent.
 */
#ifndef HEAPTALLY_FREEZE_H
#define HEAPTALLY_FREEZE_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/channel.h"
#include "preload/park.h"
#include "tracer/format/wire.h"

bool freeze_is_ours(void); /* this process is the one the library was started in, and records */

/* Wait for the lock, parking when asked to. `here`: where the caller stands when its signals are blocked,
 * else NULL. false: this thread holds it already (a signal handler that came in the middle). */
bool freeze_lock(const struct thread_slot *here);
void freeze_unlock(void);

struct freeze_how {
    enum wire_reason reason;
    int status;
    const struct thread_slot *self;
    bool may_lock; /* no lock of the allocator can be held by this thread */
};
/* Parks the others and fills what the companion is told; *ret_note is the line about threads that did not
 * park, or "". */
void freeze_describe(const struct freeze_how *how, struct wire_target *ret, char *note, size_t note_size);

/* The companion may read this process although Yama would not let it; its answer is not needed. */
void freeze_allow_reader(const struct channel *channel);

/* freeze_check() for a caller that knows where it stands (a signal's context); NULL: find the program's exit
 * frame. */
void freeze_check_from(enum wire_reason reason, int status, const struct thread_slot *self);

/* --- snapshot.c ----------------------------------------------------------------------------------------- */

void snapshot_take(const struct thread_slot *here);

/* --- ways_out.c ----------------------------------------------------------------------------------------- */

void ways_out_start(void);
void ways_out_raise_due(void); /* a fatal signal that came inside the library */

/* Bits of thread_flags.parked. */
#define DUE_PARK     1u
#define DUE_SNAPSHOT 2u
#define DUE_FATAL    4u
#define DUE_SIGNALS  8u /* the program's handlers (signals.h) */

#endif
