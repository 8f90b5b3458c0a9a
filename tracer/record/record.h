/* SPDX-License-Identifier: MIT */
/*
 * record.h - who allocated what: the recorder inside the target, as preload/ sees it.
 *
 *    malloc (preload) --> record_capture() --> capture.h: what of the last stack still stands
 *          |                    |                    '--> unwinder, a frame at a time (struct unwinder: libunwind)
 *          |                    '--> path --> site id (sites.h); of a new stack, node by node (ip, parent, module)
 *          '--> record_block(ledger entry, site, size, kind) --> the thread's tally of the site (tally.h)
 *
 * Tables are those of tracer/format/tables.h, in metadata memory of the allocator's platform verbs: nothing
 * here calls malloc, stdio or the loader's locks. libunwind is opened with RTLD_NOW | RTLD_LOCAL by
 * record_start() and never enters the program's name space.
 *
 * Threads: every function may be called by any thread. record_capture() is not reentrant within a thread: the
 * caller keeps a per-thread "inside" flag (preload/thread.h) and passes no nested call.
 */
#ifndef HEAPTALLY_RECORD_H
#define HEAPTALLY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/tables.h"

struct record_config {
    uint32_t depth_limit;  /* frames kept a stack, 1..RECORD_DEPTH_MAX */
    uint32_t check_stacks; /* compare every N-th stack with a whole walk (for tests: slow); 0: none */
    /* A block that libunwind has just taken from the program's malloc and keeps for good: not the program's. */
    void (*own_block)(void *block);
    uint64_t sample;                       /* record one block in so many bytes; 0: all */
    bool paused;                           /* begin when record_pause(false) is called */
    const char *trace;                     /* file for the tables (trace.h), "": none */
    void (*say_no_trace)(const char *why); /* it cannot be had, and one clause */
};
#define RECORD_DEPTH_MAX     1024u
#define RECORD_DEPTH_DEFAULT 128u

/* Load libunwind, map the first tables. Call once, with one thread, when dlopen may be called (from the
 * library's constructor, not from inside malloc). On failure false and one clause in *ret_why (static text);
 * the program runs on. */
bool record_start(const struct record_config *config, const char **ret_why);
bool record_is_on(void);

/* The frame that called the function this is called in; for a function that ends another's call by a jump, the frame that
 * called that one. */
struct record_caller {
    uint64_t ip, rsp, rbp;
};
static inline struct record_caller record_caller_of(const void *frame_address)
{
    const uint64_t *frame = frame_address;
    return (struct record_caller){frame[1], (uintptr_t)(frame + 2), frame[0]};
}
static inline __attribute__((always_inline)) struct record_caller record_caller(void)
{
    return record_caller_of(__builtin_frame_address(0));
}

/* The site of the stack from this frame of the calling thread's outward, without the library's own frames. Never 0: at
 * worst a site that says "no stack". Preserves errno. Stack use on the caller's stack is small: what needs more runs on a
 * stack of the recorder's own. */
uint32_t record_capture(const struct record_caller *from);
/* The same by a walk, where it is known that the stack is not known and was not told in passing (hot.h). */
uint32_t record_capture_anew(const struct record_caller *from);

/* The same for a free, where the innermost RECORD_FREE_DEPTH frames are enough. */
#define RECORD_FREE_DEPTH 7u
uint32_t record_capture_free(const struct record_caller *from);
uint32_t record_capture_free_anew(const struct record_caller *from);

/* Is this one recorded, where not all are? Once a block. If not, its site is RECORD_NO_SITE: it has an entry all the same,
 * and is counted nowhere. */
#define RECORD_NO_SITE 0u
bool record_selects(size_t size);
/* From now on nothing is recorded, or what is to be. Signal-safe. */
void record_pause(bool paused);

/* Below, `nested`: by a signal handler in the middle of a recorded call of the same thread, whose tallies may be half-way:
 * it is only counted as an event. */

/* Fill the entry of the block p, and count it. `entry` may be NULL (block without ledger): then only the event is counted.
 * What the entry holds of a block before it is of no account, but for LEDGER_GUARDED in one that is LEDGER_LIVE. */
void record_block(void *entry, const void *p, uint32_t site, size_t size, enum alloc_kind kind, bool nested);

/* Mark it freed, by that stack (0: not known); site and size stay readable. false: it was marked already, and nothing has changed. entry
 * may be NULL. */
bool record_free(void *entry, const void *p, uint32_t freer, bool nested);

/* The same for a block that is to be resized, which may fail: marked, and what the entry was is kept. Then, if it was,
 * record_claimed(); if not, the caller puts the entry back. */
bool record_claim(void *entry, uint32_t freer, struct ledger_entry *ret_was);
void record_claimed(const struct ledger_entry *was, bool nested);
/* An allocation that could not be recorded (the recorder was busy in this thread). */
void record_missed(void);

/* Allocations so far, recorded or not, in this process and those it was forked from. */
uint64_t record_events(void);

/* The stack of a site, innermost first, for messages in the target itself; returns the number of ips written.
 */
uint32_t record_stack(uint32_t site, uint64_t *ips, uint32_t max);

/* The frame that called exit (or _exit, ...): the first one outward that lies neither in the library, nor in
 * libc or the loader above the program's call. Fills ip and the 16 registers (DWARF order) with
 * live_registers = those an unwind restores. false: not found; then the caller uses its own frame. */
struct record_frame {
    uint64_t ip;
    uint64_t registers[16];
    uint32_t live_registers;
};
bool record_exit_frame(struct record_frame *ret);

/* Modules may have changed (after dlclose). Cheap. */
void record_modules_changed(void);
/* The same where it is rarely so: looks whether one of those on any stack is gone. Takes no lock. */
void record_modules_may_be_gone(void);
/* The calling thread enters the loader, which allocates before it maps anything. Cheap. */
void record_modules_opening(void);

/* Another thread is about to be made: what a forked child has put off until it allocates is done now. */
void record_before_thread(void);

/* Round fork(): no thread is inside a capture while the parent forks. */
void record_fork_prepare(void);
void record_fork_parent(void);
void record_fork_child(void); /* generation + 1 */

void record_thread_exit(void); /* gives back the calling thread's capture stack */

/* A signal handler jumped out of a call of this thread's in the middle of this recorder: what that thread had is
 * given back. false: it held a lock of the recorder's, and must not call it again. */
bool record_thread_abandoned(void);

/* libstdc++'s operator new, so many bytes; 0: there is none. The blocks it allocates are marked (LEDGER_NEW).
 * Set once, the size last; any thread reads: whoever does not see it yet does not mark a block. */
extern uintptr_t record_new_start __attribute__((visibility("hidden")));
extern uintptr_t record_new_size __attribute__((visibility("hidden")));
void record_operator_new(uintptr_t start, uintptr_t size);
static inline bool record_is_from_new(uint64_t ip)
{
    return ip - record_new_start - 1 < record_new_size;
}

/* Stacks that check_stacks compared, and how many of them were not what a whole walk finds. */
void record_checked(uint64_t *ret_checks, uint64_t *ret_mismatches);

/* The process ends, or becomes another by exec: its trace file, if any, says so, or goes. */
enum record_ending { RECORD_ENDS, RECORD_EXECS, RECORD_GOES_ON /* the exec failed */ };
void record_end(enum record_ending ending, bool keep);

/* For struct wire_target; constant. NULL when not recording. */
const struct record_root *record_root_of(void);

#endif
