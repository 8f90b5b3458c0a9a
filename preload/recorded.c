/* SPDX-License-Identifier: MIT */
/*
 * The slow paths of the exported functions: every call comes here while recording, and otherwise those that
 * the fast paths cannot serve.
 *
 * A recorded allocation captures its stack first and allocates then: nothing of the allocator's is held while
 * the unwinder runs. "inside" (thread.h) is up for the whole of it, so that a signal handler's malloc, or the
 * unwinder's own, is served but not recorded, and so that a thread is never parked half-way: what a frozen
 * copy sees is a block with its entry or no block.
 */
#include "preload/face.h"

#include <errno.h>
#include <string.h>

#include "allocator/ledgered.h"
#include "preload/account.h"
#include "preload/foreign.h"
#include "preload/freed.h"
#include "preload/harden.h"
#include "preload/misuse.h"
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

static inline void *serve(enum alloc_kind kind, size_t size, size_t alignment)
{
    if (kind == KIND_CALLOC)
        return alloc_malloc_zeroed(size);
    if (kind == KIND_ALIGNED)
        return alloc_malloc_aligned(alignment, size);
    return alloc_malloc(size);
}

/* A handler that comes in the middle of a recorded call waits for its end (signals.h), or is served unrecorded;
 * `outer` tells which, and where the call's frame is. Pair with recorded_leave(). */
static inline __attribute__((always_inline)) bool recorded_enter(void)
{
    if (thread_flags.inside == 0)
        thread_face.outer = (uintptr_t)__builtin_frame_address(0);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return thread_enter();
}

/* A signal that came while `outer` was up is let in by thread_leave(); one that comes later does not wait. */
static inline void recorded_leave(bool outermost)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (outermost)
        thread_face.outer = 0;
    thread_leave();
}

static inline uint8_t flags_of_block(uintptr_t caller)
{
    return (uint8_t)((delete_is_from_new(caller) ? LEDGER_NEW : 0) |
                     (thread_face.ignore_depth ? LEDGER_IGNORED : 0));
}

static inline void note_block(void *p, void *entry, uint32_t site, size_t size, enum alloc_kind kind,
                              uintptr_t caller)
{
    record_block(entry, p, site, size, kind);
    if (entry)
        ((struct ledger_entry *)entry)->flags |= flags_of_block(caller);
}

static void *entry_of(const void *p)
{
    struct alloc_block block = {0};
    alloc_find(p, &block);
    return block.ledger;
}

static COLD void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* What the fast way does not serve. */
static __attribute__((noinline)) void *serve_recorded(enum alloc_kind kind, size_t size, size_t alignment,
                                                      void **ret_entry)
{
    void *p = face_state.hardened ? harden_allocate(kind, size, alignment) : serve(kind, size, alignment);
    *ret_entry = p ? entry_of(p) : NULL;
    return p;
}

static inline void *served(void *p)
{
    /* The block's address may be left over in a vector register, where a look at a running thread would take it for a
     * reference. */
    __asm__ volatile("pxor %%xmm0, %%xmm0" ::: "xmm0");
    return p ? p : out_of_memory();
}

static __attribute__((noinline)) void *allocate_recorded(size_t size, enum alloc_kind kind, size_t alignment)
{
    struct record_caller caller = record_caller();
    bool outermost = recorded_enter(), capture = may_capture(outermost);
    uint32_t site = capture ? record_capture(&caller) : 0;
    void *entry, *p = serve_recorded(kind, size, alignment, &entry);
    if (p && capture)
        note_block(p, entry, site, size, kind, caller.ip);
    else if (p)
        record_missed();
    recorded_leave(outermost);
    return served(p);
}

/* All that the slow paths' beginnings look for, at once: then a call is recorded, and the heap is the thread's own. */
static inline bool is_plainly_recorded(void)
{
    return face_state.plainly_recording && thread_face.life == THREAD_ARMED &&
           (thread_face.cancels | alloc_thread.attaching | alloc_thread.nested | thread_flags.inside) == 0;
}

/* recorded_enter() for those. */
static inline __attribute__((always_inline)) void plain_enter(void)
{
    thread_face.outer = (uintptr_t)__builtin_frame_address(0);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    (void)thread_enter();
}

/* The same for most of them. */
static inline __attribute__((always_inline)) void *plain_allocation(const struct record_caller *caller, size_t size,
                                                                    enum alloc_kind kind, size_t alignment)
{
    plain_enter();
    uint32_t site = record_capture_hot(caller);
    void *entry, *p = kind <= KIND_CALLOC ? alloc_take_ledgered(size, &entry) : NULL;
    if (__builtin_expect(p != NULL, 1)) {
        record_block_hot(entry, p, site, size, kind, flags_of_block(caller->ip));
        if (kind == KIND_CALLOC)
            memset(p, 0, size);
    } else {
        p = serve_recorded(kind, size, alignment, &entry);
        if (p)
            note_block(p, entry, site, size, kind, caller->ip);
    }
    recorded_leave(true);
    return served(p);
}

static __attribute__((noinline)) void *allocate_plainly(size_t size, enum alloc_kind kind, size_t alignment)
{
    struct record_caller caller = record_caller();
    return plain_allocation(&caller, size, kind, alignment);
}

static __attribute__((noinline)) void *allocate_watched(enum alloc_kind kind, size_t size, size_t alignment)
{
    if (face_state.recording)
        return allocate_recorded(size, kind, alignment);
    void *p = face_state.hardened ? harden_allocate(kind, size, alignment)
                                  : account_allocate(kind, size, alignment);
    return p ? p : out_of_memory();
}

/* The three once more, with cancellation put off (cancel.c). */
ALLOC_FAST_SELDOM __attribute__((noinline, flatten)) static void *malloc_fast_apart(size_t size)
{
    return alloc_malloc_fast(size);
}

ALLOC_FAST_SELDOM __attribute__((noinline, flatten)) static bool free_fast_apart(void *p)
{
    return alloc_free_fast(p);
}

static __attribute__((noinline)) void *allocate_held(size_t size, enum alloc_kind kind, size_t alignment)
{
    cancel_hold();
    void *p = kind == KIND_MALLOC ? malloc_fast_apart(size) : NULL;
    if (p == NULL)
        p = allocate(size, kind, alignment);
    cancel_let();
    return p;
}

static __attribute__((noinline)) void *allocate_held_recorded(size_t size, enum alloc_kind kind, size_t alignment)
{
    struct record_caller caller = record_caller();
    cancel_hold();
    void *p = is_plainly_recorded() ? plain_allocation(&caller, size, kind, alignment) : allocate(size, kind, alignment);
    cancel_let();
    return p;
}

static __attribute__((noinline)) void release_held(void *p, enum release_call call)
{
    cancel_hold();
    if (!free_fast_apart(p))
        release(p, call);
    cancel_let();
}

static COLD void *reallocate_held(void *p, size_t size)
{
    cancel_hold();
    void *q = reallocate(p, size);
    cancel_let();
    return q;
}

void *allocate(size_t size, enum alloc_kind kind, size_t alignment)
{
    if (is_plainly_recorded())
        return allocate_plainly(size, kind, alignment);
    if (__builtin_expect(thread_face.cancels, 0))
        return face_state.recording ? allocate_held_recorded(size, kind, alignment)
                                    : allocate_held(size, kind, alignment);
    face_enter();
    if (face_state.watched)
        return allocate_watched(kind, size, alignment);
    void *p = serve(kind, size, alignment);
    return p ? p : out_of_memory();
}

/* --- free ---------------------------------------------------------------------------------------- */

static inline enum alloc_status give_back(const struct alloc_block *block, const struct ledger_entry *was)
{
    if (face_state.hardened) {
        harden_retire(block, was);
        return ALLOC_OK;
    }
    return alloc_free(block->start);
}

static void note_freed(const void *p, const struct alloc_block *block, const struct ledger_entry *was,
                       struct record_freer freer)
{
    bool known = was->state == LEDGER_LIVE;
    const struct freed_block freed = {known ? ledger_size(was) : block->capacity, was->site, freer.site,
                                      freer.frames};
    freed_note(p, &freed);
}

/* The entry is marked before the block is free: afterwards it may be another thread's. An entry that is
 * marked already belongs to a block that was freed before, whatever the free lists can still tell. */
static __attribute__((noinline)) enum alloc_status free_recorded(void *p, struct record_freer freer,
                                                                 struct ledger_entry *ret_was)
{
    struct alloc_block block = {0};
    enum alloc_status status = alloc_find(p, &block);
    if (status != ALLOC_OK)
        return status;
    struct ledger_entry *entry = block.ledger, was = {0};
    if (entry)
        was = *entry;
    if (!record_free(entry, p, freer))
        return ALLOC_DOUBLE_FREE;
    *ret_was = was;
    note_freed(p, &block, &was, freer);
    return give_back(&block, &was);
}

/* Page-aligned: may be a span or a mapping, whose memory may soon be nobody's. The size only of what has a mapping of its
 * own (they are aligned to more than any pool): asking costs as much as the free itself. */
static __attribute__((noinline)) enum alloc_status free_noted(void *p)
{
    bool is_mapping = ((uintptr_t)p & (ALLOC_MAPPING_ALIGNMENT - 1)) == 0;
    const struct freed_block freed = {.size = is_mapping ? alloc_usable_size(p) : 0};
    enum alloc_status status = alloc_free(p);
    if (status == ALLOC_OK)
        freed_note(p, &freed);
    return status;
}

static inline enum alloc_status free_plain(void *p)
{
    return freed_is_large(p) ? free_noted(p) : alloc_free(p);
}

static const char *call_name(enum release_call call)
{
    return call == RELEASE_FREE ? "free" : "operator delete";
}

static COLD void release_wrong(void *p, enum release_call call, enum alloc_status status)
{
    int saved = errno;
    if (status != ALLOC_FOREIGN || !foreign_free(p))
        misuse_report(call_name(call), p, status);
    errno = saved;
}

static __attribute__((noinline)) enum alloc_status release_unrecorded(void *p)
{
    return face_state.hardened ? harden_free(p) : account_release(p);
}

static COLD void release_mismatched(void *p, enum release_call call, const struct ledger_entry *was)
{
    misuse_mismatch(call_name(call), p, was);
}

static __attribute__((noinline)) void release_recorded(void *p, enum release_call call)
{
    struct record_caller caller = record_caller();
    struct ledger_entry was = {0};
    struct record_freer freer = {0, 0};
    bool outermost = recorded_enter();
    if (may_capture(outermost) && face_state.free_stacks)
        freer = record_capture_free(&caller);
    enum alloc_status status = free_recorded(p, freer, &was);
    recorded_leave(outermost);
    if (__builtin_expect(status != ALLOC_OK, 0))
        release_wrong(p, call, status);
    else if (__builtin_expect(delete_is_mismatch(call, &was), 0))
        release_mismatched(p, call, &was);
}

/* The same for a block of the thread's own. Should it be freed again its entry tells by whom, as long as there is one
 * (freed.c). */
static inline __attribute__((always_inline)) void plain_release(const struct record_caller *caller, void *p,
                                                                enum release_call call)
{
    void *entry;
    plain_enter();
    struct pool *pool = alloc_find_ledgered(p, &entry);
    const struct ledger_entry *was = entry;
    if (__builtin_expect(!pool || was->state != LEDGER_LIVE || delete_is_mismatch(call, was), 0)) {
        recorded_leave(true);
        release_recorded(p, call);
        return;
    }
    struct record_freer freer = {0, 0};
    if (face_state.free_stacks)
        freer = record_capture_free(caller);
    record_free_hot(entry, p, freer);
    alloc_give_ledgered(pool, p);
    recorded_leave(true);
}

static __attribute__((noinline)) void release_plainly(void *p, enum release_call call)
{
    struct record_caller caller = record_caller();
    plain_release(&caller, p, call);
}

static __attribute__((noinline)) void release_held_recorded(void *p, enum release_call call)
{
    struct record_caller caller = record_caller();
    cancel_hold();
    if (is_plainly_recorded())
        plain_release(&caller, p, call);
    else
        release(p, call);
    cancel_let();
}

void release(void *p, enum release_call call)
{
    if (!p)
        return;
    if (is_plainly_recorded()) {
        release_plainly(p, call);
        return;
    }
    if (__builtin_expect(thread_face.cancels, 0)) {
        (face_state.recording ? release_held_recorded : release_held)(p, call);
        return;
    }
    face_enter();
    if (face_state.recording) {
        release_recorded(p, call);
        return;
    }
    enum alloc_status status = face_state.watched ? release_unrecorded(p) : free_plain(p);
    if (__builtin_expect(status != ALLOC_OK, 0))
        release_wrong(p, call, status);
}

/* --- realloc ------------------------------------------------------------------------------------- */

/* A block from before the recording, resized by a nested call: its entry must not stay marked as freed. */
static void note_missed(struct ledger_entry *entry, const struct ledger_entry *old)
{
    record_missed();
    if (entry && entry->state == LEDGER_FREED)
        *entry = *old;
}

/* The new block's entry. A nested call takes no stack: the block keeps the site it had. */
static void note_resized(void *q, void *entry, uint32_t site, size_t size, const struct ledger_entry *old)
{
    if (site != 0)
        record_block(entry, q, site, size, KIND_REALLOC);
    else if (old->state == LEDGER_LIVE)
        record_block(entry, q, old->site, size, (enum alloc_kind)old->kind);
    else
        note_missed(entry, old);
    if (entry)
        ((struct ledger_entry *)entry)->flags |=
            (old->flags & LEDGER_IGNORED) | (thread_face.ignore_depth ? LEDGER_IGNORED : 0);
}

static inline enum alloc_status resize(const struct alloc_block *block, const struct ledger_entry *was,
                                       size_t size, void **ret_block)
{
    if (!face_state.hardened)
        return alloc_realloc(block->start, size, ret_block);
    *ret_block = harden_resize(block, was, size);
    return ALLOC_OK;
}

static enum alloc_status resize_recorded(void *p, uint32_t site, size_t size, void **ret_block)
{
    struct alloc_block block = {0};
    enum alloc_status status = alloc_find(p, &block);
    if (status != ALLOC_OK)
        return status;
    struct record_freer freer = {site, 0};
    struct ledger_entry old, *entry = block.ledger;
    /* Marked now: once it has moved, the old entry may be another thread's. */
    if (!record_claim(entry, freer, &old))
        return ALLOC_DOUBLE_FREE;
    status = resize(&block, &old, size, ret_block);
    if (status != ALLOC_OK || !*ret_block) {
        if (entry)
            *entry = old;
        return status;
    }
    record_claimed(&old);
    if (*ret_block != p)
        note_freed(p, &block, &old, freer);
    note_resized(*ret_block, entry_of(*ret_block), site, size, &old);
    return status;
}

/* A block of the thread's own, in place or moved to another one; false: nothing was done. */
static inline bool resize_ledgered(void *p, uint32_t site, size_t size, void **ret_block)
{
    void *entry, *copy_s = NULL;
    struct ledger_entry old;
    struct pool *pool = alloc_find_ledgered(p, &entry);
    if (!pool || ((struct ledger_entry *)entry)->state != LEDGER_LIVE)
        return false;
    bool stays = alloc_fits_well(size, pool->block_size);
    void *q = stays ? p : alloc_take_ledgered(alloc_size_to_grow(size, pool->block_size), &copy_s);
    if (!q)
        return false;
    if (!stays)
        memcpy(q, p, size < pool->block_size ? size : pool->block_size);
    (void)record_claim(entry, (struct record_freer){site, 0}, &old);
    record_claimed(&old);
    if (!stays)
        alloc_give_ledgered(pool, p);
    note_resized(q, stays ? entry : copy_s, site, size, &old);
    *ret_block = q;
    return true;
}

/* As free_plain(): a block that moved away was freed. */
static enum alloc_status resize_plain(void *p, size_t size, void **ret_block)
{
    enum alloc_status status = alloc_realloc(p, size, ret_block);
    if (status == ALLOC_OK && freed_is_large(p) && *ret_block && *ret_block != p)
        freed_note(p, &(struct freed_block){0});
    return status;
}

static COLD void *resize_wrong(void *p, size_t size, enum alloc_status status)
{
    void *q;
    if (status == ALLOC_FOREIGN && foreign_realloc(p, size, &q))
        return q;
    misuse_report("realloc", p, status);
    return out_of_memory();
}

static __attribute__((noinline)) void *reallocate_recorded(void *p, size_t size)
{
    struct record_caller caller = record_caller();
    enum alloc_status status = ALLOC_OK;
    void *q = NULL;
    bool plainly = is_plainly_recorded(), outermost = recorded_enter();
    uint32_t site = may_capture(outermost) ? record_capture(&caller) : 0;
    if (!plainly || !resize_ledgered(p, site, size, &q))
        status = resize_recorded(p, site, size, &q);
    recorded_leave(outermost);
    if (__builtin_expect(status != ALLOC_OK, 0))
        return resize_wrong(p, size, status);
    return q ? q : out_of_memory();
}

static __attribute__((noinline)) void *reallocate_unrecorded(void *p, size_t size)
{
    void *q = NULL;
    enum alloc_status status;
    if (!face_state.watched)
        status = resize_plain(p, size, &q);
    else
        status = face_state.hardened ? harden_realloc(p, size, &q) : account_resize(p, size, &q);
    if (__builtin_expect(status != ALLOC_OK, 0))
        return resize_wrong(p, size, status);
    return q ? q : out_of_memory();
}

/* It ends with its calls, so that they see the frame of its caller. */
void *reallocate(void *p, size_t size)
{
    if (__builtin_expect(thread_face.cancels, 0))
        return reallocate_held(p, size);
    face_enter();
    return face_state.recording ? reallocate_recorded(p, size) : reallocate_unrecorded(p, size);
}
