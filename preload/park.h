/* SPDX-License-Identifier: MIT */
/*
 * park.h - make every other thread stand still, and know where it stands.
 *
 *    freezer                              another thread
 *    -------                              --------------
 *    park_others: a slot per thread
 *       tgkill(signal) ----------------->  handler: outside the library?  no: thread_flags.parked, parks as
 * it leaves waits for arrivals  <-----------   yes: registers into its slot, sleeps on the epoch
 *    ... looks at memory, or copies itself ...
 *    park_release: epoch + 1 ---------->   goes on; errno as it was
 *
 * States of a slot (enum park_state in park.c), written by the freezer except where noted:
 *    WAITING   listed, not signalled yet: new, or its signal mask is closed for the moment
 *    ASKED     signalled
 *    ARRIVING  its thread fills the slot; set by that thread, by compare-and-swap from WAITING or ASKED
 *    STANDING  filled; set by that thread
 *    GONE      the thread has ended
 *    LEFT      did not answer: told to the companion as THREAD_UNPARKED
 * Only WAITING and ASKED can turn into ARRIVING: a signal that comes late finds nothing to do.
 *
 * No signal is sent to a thread that has it blocked or sits in sigwait() for it: it would be taken for one of
 * the program's own there, now or later.
 *
 * Threads: park_others, park_release and the results are for the holder of the freeze lock; park_stand is
 * called by any thread, and is async-signal-safe.
 */
#ifndef HEAPTALLY_PARK_H
#define HEAPTALLY_PARK_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/format/wire.h"

struct park_request {
    const struct thread_slot *self; /* the caller's own slot, the first of the result */
    int signal;
    uint32_t limit_ms;
    bool may_lock; /* the caller holds no lock of the allocator: the table may grow in metadata memory */
};

struct park_result {
    const struct thread_slot *slots;
    uint32_t count;
    uint32_t left;   /* of those: THREAD_UNPARKED */
    uint32_t missed; /* threads beyond the table: no memory for them */
    bool unlisted;   /* there are others, and /proc does not say which */
};

void park_others(const struct park_request *request, struct park_result *ret);
void park_release(void);

/* If the calling thread is asked to park: put `here` into its slot and sleep until the release. */
void park_stand(const struct thread_slot *here);

/* In a forked child: nobody is parked. */
void park_forget(void);

/* --- where a thread stands ------------------------------------------------------------------------------ */

/* From the context a signal handler got: all registers are the program's. The slot points into the handler's frame. */
void slot_from_context(const void *context, struct thread_slot *ret);

/* The caller's own frame: ip, sp and the registers a function keeps for its caller; vector registers it keeps none. */
void slot_from_here(struct thread_slot *ret);

#endif
