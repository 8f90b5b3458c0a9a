/* SPDX-License-Identifier: MIT */
/*
 * scheduler.h - run the real allocator's threads as coroutines, in every order that can make a difference.
 *
 *   scenario.setup()  --> state S, once       thread 0   thread 1   thread 2      coroutines on own stacks
 *        ^                                       |          |          |
 *        |   undo log: back to S                 +--- scheduler picks who makes the next access ---+
 *        +------------- scenario.check() <------------------ all have ended
 *
 * How accesses are seen. The allocator is compiled with -fsanitize=thread and linked with scheduler_hooks.c instead
 * of that sanitizer's runtime. So every load, store and atomic operation of the real code, plain ones too, calls us
 * with its address before it happens; nothing in the sources knows of it. platform.c is replaced by platform_stub.c,
 * whose locks are the scheduler's: a thread that waits for one is not enabled.
 *
 * How orders are enumerated. Depth-first, from the start each time, with dynamic partial-order reduction (source sets
 * of Abdulla, Aronis, Jonsson, Sagonas, POPL 2014, and sleep sets of Godefroid): two accesses depend on each other
 * when they touch a common 4-byte word and one writes. For each class of schedules that differ only in the order of
 * independent accesses at least one is run to its end: within a scenario, that is all there is. A scenario that is not
 * through after `limit` schedules says so, and has not been proved.
 *
 * What it does not show. Schedules are sequentially consistent: each access takes effect at once, in program order.
 * Processors (x86: stores may be late) and compilers reorder more than that. A compare-and-swap never fails without
 * reason here. Loops that wait for another thread without a lock would not end; the allocator has none.
 *
 * Threads: none; one process, one kernel thread.
 */
#ifndef HEAPTALLY_INTERLEAVE_SCHEDULER_H
#define HEAPTALLY_INTERLEAVE_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THREADS_MAX 4

struct scenario {
    const char *name;
    void (*setup)(void);
    void (*thread[THREADS_MAX])(void); /* up to the first NULL */
    void (*check)(void);               /* everybody has ended; calls expect() */
};

struct exploration {
    uint64_t schedules, pruned, steps, longest;
    uint64_t outcomes; /* the set of numbers (0 .. 63) that scheduler_outcome() was told */
    bool complete;
    const char *failure; /* or NULL: what did not hold, in the schedule that was printed */
};

/* `limit` 0: to the end. Without `reduce`, every enabled thread at every step: to check the reduction by. */
void scheduler_explore(const struct scenario *scenario, uint64_t limit, bool reduce, struct exploration *ret);

/* In setup, check, or thread: what must hold. The first that does not ends the exploration. */
#define expect(condition, text) ((condition) ? (void)0 : scheduler_fail(text))
void scheduler_fail(const char *text);

/* In check: this schedule ended so. */
void scheduler_outcome(unsigned number);

/* In setup and check: be the thread that thread[which] is, with its thread-local variables. */
void scheduler_become(int which);

/* In a thread: call `look` on the state as it is at this moment, and undo what it did. That is an access to everything. */
void scheduler_snapshot(void (*look)(void));

/* toys.c: do programs of a few steps end in the same ways with the reduction and without? Returns how many do not, of
 * *ret_count. */
unsigned toys_explore(unsigned *ret_count);

/* --- for scheduler_hooks.c and platform_stub.c ------------------------------------------------------------------ */

enum access_kind { ACCESS_READ, ACCESS_WRITE, ACCESS_LOCK, ACCESS_UNLOCK, ACCESS_ALL };

/* Before an access. Comes back when it is this thread's turn; what it will overwrite is in the undo log then. */
void scheduler_access(const void *address, size_t size, enum access_kind kind, const void *pc);
int scheduler_who(void); /* the current thread's number */
/* Between these, accesses are one with the last that was announced. */
void scheduler_atomic_begin(void);
void scheduler_atomic_end(void);
/* Memory that is reset between schedules, zeroed at first. */
extern unsigned char *scheduler_memory;
#define SCHEDULER_MEMORY ((size_t)64 << 20)

#endif
