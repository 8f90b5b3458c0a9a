/* SPDX-License-Identifier: MIT */
/*
 * thread.h - the few bytes the library keeps per thread while recording.
 *
 *   inside: > 0 while the thread is in the recorder, the allocator or a handler of ours. Written by its own thread
 *           only (and by signal handlers on it, which leave it as they found it).
 *   parked: a parking request that came while inside > 0; the thread parks as it leaves. Own thread only.
 *
 * A nested call (inside already > 0: a signal handler that mallocs, or libunwind itself calling malloc) is served by
 * the allocator but not recorded.
 */
#ifndef HEAPTALLY_THREAD_H
#define HEAPTALLY_THREAD_H

#include <stdbool.h>
#include <stdint.h>

struct thread_flags {
    volatile uint32_t inside;
    union {
        struct {
            uint16_t ignore_depth; /* nested __lsan_disable() */
            uint16_t cancels;      /* may be cancelled at any instruction, not seen by us (cancel.c) */
        };
        uint32_t special; /* some of it: the recorded calls' fast paths are not for this thread */
    };
    uintptr_t outer; /* the frame of the recorded call going on, 0: none. Handlers leave it as it is */
    volatile uint32_t parked;
};
extern __thread struct thread_flags thread_flags;

void freeze_park_here(void);

/* true: outermost entry, record; false: nested. Pair with thread_leave() in both cases. */
static inline bool thread_enter(void)
{
    return thread_flags.inside++ == 0;
}

static inline void thread_leave(void)
{
    if (--thread_flags.inside == 0 && __builtin_expect(thread_flags.parked != 0, 0))
        freeze_park_here();
}

#endif
