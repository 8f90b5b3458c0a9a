/* SPDX-License-Identifier: MIT */
/*
 * nested.h - allocating and freeing in a signal handler that interrupted the allocator in its own thread.
 *
 *   interrupted                               small from           large from      span, mapping freed
 *   a fast path, or a slow path without lock  the shared heap      as always       as always
 *   a slow path that holds a lock             emergency.h          emergency.h     deferred
 *
 * The thread's own heap may be half-way between two states and is not touched at all: its small blocks are freed
 * as another thread would free them (remote.h). What handler code must not do is wait for a lock that its own
 * thread holds; which one it holds, the locks themselves tell (platform.h).
 *
 * Who knows that a handler runs
 *   the slow paths  by themselves: `busy` in the heap, the locks
 *   the fast paths  do not, so that they stay as short as they are. Whoever runs handlers (preload/signals.h)
 *                   brackets those that interrupted one of them by alloc_nested_begin() and _end(): meanwhile
 *                   the thread has the sentinel heap, on which the fast paths miss.
 *
 * A handler that is left by a jump does not come to alloc_nested_end(). alloc_nested_heal() finds that out from
 * the stack pointer, gives the heap up, whose lists may be torn, and lets the thread have another one. Its pools
 * are recounted from their lists when they are adopted, as after a fork. With one of our locks held by code that
 * will never go on, there is nothing to heal: the thread lives from the emergency path, and is told of once.
 *
 * Threads: all of it concerns the calling thread, but the deferred blocks, which anybody may free.
 */
#ifndef HEAPTALLY_NESTED_H
#define HEAPTALLY_NESTED_H

#include <stdbool.h>

#include "allocator/layout.h"
#include "allocator/state.h"

/* The thread's own heap is not to be used. */
static inline bool thread_is_nested(void)
{
    return unlikely(alloc_thread.nested != 0 || alloc_thread.attaching);
}

/* The heap is between two states from here to heap_leave(): handlers on this thread see that. The compiler moves
 * nothing of what is between out of it. */
static inline void heap_enter(struct heap *heap)
{
    store_relaxed(&heap->busy, 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void heap_leave(struct heap *heap)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    store_relaxed(&heap->busy, 0);
}

/* Keep p, a span or a mapping that was freed while a lock was held, until deferred_drain(). */
void deferred_push(void *p);
void deferred_free_all(void);

static inline void deferred_drain(void)
{
    if (unlikely(load_relaxed(&alloc_state.deferred) != NULL) && !thread_is_nested() && !state_holds_lock())
        deferred_free_all();
}

/* Nobody will go on in the middle of what this heap was doing: its pools are left for adoption, torn. No lock is
 * held. */
void heap_lose(struct heap *heap);

#endif
