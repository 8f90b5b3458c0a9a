/* SPDX-License-Identifier: MIT */
/*
 * recorded_parts.h - what recorded.c and resized.c share: how a slow path begins and ends. Internal to them.
 */
#ifndef HEAPTALLY_RECORDED_PARTS_H
#define HEAPTALLY_RECORDED_PARTS_H

#include "preload/face.h"

#include <errno.h>

#include "allocator/ledgered.h"
#include "preload/freed.h"
#include "preload/preload.h"
#include "preload/signals.h"
#include "preload/thread.h"
#include "tracer/record/hot.h"

static inline void face_enter(void)
{
    if (__builtin_expect(!face_state.started, 0))
        start_first_call();
    if (__builtin_expect(thread_face.life == THREAD_FRESH, 0))
        thread_arm();
    if (__builtin_expect(thread_is_nested(), 0))
        signals_look_whether_left();
}

/* A stack may be taken: the outermost entry, of a thread that has not given up its capture stack. */
static inline bool may_capture(bool outermost)
{
    return outermost && thread_face.life != THREAD_ENDED;
}

/* A handler that comes in the middle of a recorded call waits for its end (signals.h), or is served unrecorded;
 * `outer` tells which, and where the call's frame is. Pair with recorded_leave(). */
static inline __attribute__((always_inline)) bool recorded_enter(void)
{
    if (thread_flags.inside == 0)
        thread_flags.outer = (uintptr_t)__builtin_frame_address(0);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return thread_enter();
}

/* A nested call of a recorded one does without the thread's heap: a handler that was not entered through us may stand on the
 * middle of a leaf (recorded_fast.c), which does not say so. true: alloc_nested_end() is due. */
static inline __attribute__((always_inline)) bool recorded_nest(bool outermost, struct alloc_nested *ret)
{
    if (outermost || thread_flags.outer == 0 || thread_is_nested())
        return false;
    const struct alloc_stack stack = {(uintptr_t)__builtin_frame_address(0), 0, 0};
    alloc_nested_begin(&stack, ret);
    return true;
}

/* A signal that came while `outer` was up is let in by thread_leave(); one that comes later does not wait. */
static inline void recorded_leave(bool outermost)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (outermost)
        thread_flags.outer = 0;
    thread_leave();
}

static inline void *entry_of(const void *p)
{
    struct alloc_ledgered own = alloc_find_ledgered(p);
    if (__builtin_expect(own.pool != NULL, 1))
        return own.entry;
    struct alloc_block block = {0};
    alloc_find(p, &block);
    return block.ledger;
}

static inline void note_freed(const void *p, const struct alloc_block *block, const struct ledger_entry *was,
                              uint32_t freer)
{
    bool known = was->state == LEDGER_LIVE;
    const struct freed_block freed = {known ? ledger_size(was) : block->capacity, was->site, freer};
    freed_note(p, &freed);
}

/* What could not be freed is told, if it is not the C library's. */
void release_wrong(void *p, enum release_call call, enum alloc_status status);

/* The block alone, and its entry if it has one. */
void *allocate_block(enum alloc_kind kind, size_t size, size_t alignment, void **ret_entry);

static inline void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

#endif
