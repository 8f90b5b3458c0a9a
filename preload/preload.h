/* SPDX-License-Identifier: MIT */
/*
 * preload.h - the library's face to the program, and how its parts meet.
 *
 *   program --> exports.c (malloc, free, ...; one list: exports.map)
 *                 | fast path: allocator/fast.h
 *                 | slow path: start.c (first call) -> settings.c -> allocator, and with record=1:
 *                 '-> recorded.c: thread_enter, record_capture, alloc_*, record_block, thread_leave
 *   fork   --> fork.c: prepare in lock order: channel, record, allocator; child: allocator, record, channel
 *   exit, _exit, quick_exit, exec, fatal signals --> ways_out.c --> freeze.c
 *   a companion's signal --> freeze.c: park.c (threads), a raw-fork copy, channel.c (socket), serve
 *
 * Plain preload (no record=1): the allocator alone. Silent, no files, no signals taken, libunwind not loaded.
 *
 * Life of the library: (a) first malloc, possibly before any constructor: settings are read (environ, or
 * /proc/self/environ when environ is not there yet), the allocator's ledger and interception are switched on when record=1;
 * blocks are handed out with a ledger but no site. (b) the constructor: recording starts (dlopen of libunwind), the channel
 * says HELLO, the ways out are hooked. (c) the last atexit handler: the check. Calls after it work as before.
 */
#ifndef HEAPTALLY_PRELOAD_H
#define HEAPTALLY_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/wire.h"

#define PRELOAD_PATH_MAX 4096

/* What becomes of a wrong free. */
enum misuse_policy { MISUSE_ABORT, MISUSE_REPORT, MISUSE_IGNORE };

/* Whether stacks are recorded. */
enum record_choice { RECORD_NOT, RECORD_FROM_START, RECORD_WHEN_TOLD };

/* One row of settings.c's table each; all are constant after start. */
struct settings {
    enum record_choice record; /* record=0|1|off */
    int64_t sample;            /* sample=BYTES: with record, one block in so many bytes; 0: all */
    uint32_t depth;            /* depth=N frames kept */
    int signal;                /* signal=N: parking and snapshot requests; default SIGRTMAX-3 */
    int64_t decay_ms;          /* decay=MS, -1 never */
    enum misuse_policy misuse; /* misuse=abort|report|ignore */
    bool free_stacks;          /* free_stacks=0|1: with record, frees take their stack too */
    uint32_t check_stacks;     /* check_stacks=N: with record, every N-th stack is taken a second way, too */
    bool trace_keep;           /* trace_keep=0|1: the trace of a process that has ended stays */
    bool harden;               /* harden=0|1 */
    uint32_t quarantine_kib;   /* quarantine=KIB: freed memory that waits, with harden */
    bool children;             /* children=0|1: forked and exec'ed children report too */
    bool exit_check;           /* exit_check=0|1 */
    uint64_t fatal_signals; /* fatal_signals=TERM+INT+...: bit per signal that gets a check before it kills */
    uint32_t park_ms;       /* park=MS: how long to wait for threads to park */
    bool help;              /* help=1: print the table on stderr at start */
    char socket[PRELOAD_PATH_MAX];  /* socket=PATH: where the companion listens; "" none */
    char trace[PRELOAD_PATH_MAX];   /* trace=PATH: with record, the file of the tables; "" none */
    char account[PRELOAD_PATH_MAX]; /* account=PATH: the shared page to count live bytes on; "" none */
};
const struct settings *settings_get(void);

/* --- the face (start.c, exports.c, fork.c, thread.c) -------------------------------------------------------- */

/* true while allocations are recorded in this process. */
bool preload_is_recording(void);

/* --- the freeze (freeze.c, park.c, channel.c, ways_out.c) ---------------------------------------------------- */

/* From the constructor, when record=1: connect to settings.socket, say HELLO (recording = 0 with a NOTE `why_not` when recording could
 * not start), install the signal handler, hook the ways out. Without a socket: handler and hooks only. */
void freeze_start(bool recording, const char *why_not);

/* Stand still, let the companion look, go on. Any thread; returns when the companion is done, has gone, or was never there. */
void freeze_check(enum wire_reason reason, int status);

/* Round fork(), in fork.c's order. The child gets a connection of its own (children=1). */
/* Until the lock is free, while the thread can still be parked; then, with its signals blocked, false: it is not free any more. */
void freeze_fork_wait(void);
bool freeze_fork_prepare(void);
void freeze_fork_parent(void);
void freeze_fork_child(void);

/* Threads that are inside the library when the parking signal comes finish what they do and park on leaving:
 * called by thread_leave() when a request is pending (thread.h). */
void freeze_park_here(void);

#endif
