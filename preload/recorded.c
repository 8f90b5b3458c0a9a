/* SPDX-License-Identifier: MIT */
/*
 * The slow paths of the exported functions: calls that the fast paths cannot serve, while recording those of
 * recorded_fast.c.
 *
 * A recorded allocation captures its stack first and allocates then: nothing of the allocator's is held while
 * the unwinder runs. "inside" (thread.h) is up for the whole of it, so that a signal handler's malloc, or the
 * unwinder's own, is served but not recorded, and so that a thread is never parked half-way: what a frozen
 * copy sees is a block with its entry or no block.
 */
#include "preload/recorded_parts.h"

#include <string.h>

#include "preload/account.h"
#include "preload/foreign.h"
#include "preload/harden.h"
#include "preload/misuse.h"

static inline void *serve(enum alloc_kind kind, size_t size, size_t alignment)
{
    if (kind == KIND_CALLOC)
        return alloc_malloc_zeroed(size);
    if (kind == KIND_ALIGNED)
        return alloc_malloc_aligned(alignment, size);
    return alloc_malloc(size);
}

static inline uint8_t flags_of_block(uintptr_t caller)
{
    return (uint8_t)((record_is_from_new(caller) ? LEDGER_NEW : 0) |
                     (thread_flags.ignore_depth ? LEDGER_IGNORED : 0));
}

static inline void note_block(void *p, void *entry, uint32_t site, size_t size, enum alloc_kind kind,
                              uintptr_t caller)
{
    record_block(entry, p, site, size, kind, false);
    if (entry)
        ((struct ledger_entry *)entry)->flags |= flags_of_block(caller);
}

__attribute__((noinline)) void *allocate_block(enum alloc_kind kind, size_t size, size_t alignment,
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
    uint32_t site =
        capture && (!record_hot.selective || record_selects(size)) ? record_capture(&caller) : RECORD_NO_SITE;
    struct alloc_nested nested;
    bool is_nested = recorded_nest(outermost, &nested);
    void *entry = NULL, *p = allocate_block(kind, size, alignment, &entry);
    if (p && capture)
        note_block(p, entry, site, size, kind, caller.ip);
    else if (p)
        record_missed();
    if (is_nested)
        alloc_nested_end(&nested);
    recorded_leave(outermost);
    return served(p);
}

static __attribute__((noinline)) void *allocate_watched(enum alloc_kind kind, size_t size, size_t alignment)
{
    if (face_state.recording)
        return allocate_recorded(size, kind, alignment);
    void *p = face_state.hardened ? harden_allocate(kind, size, alignment)
                                  : account_allocate(kind, size, alignment);
    return p ? p : out_of_memory();
}

static COLD void *allocate_held(size_t size, enum alloc_kind kind, size_t alignment)
{
    cancel_hold();
    void *p = allocate(size, kind, alignment);
    cancel_let();
    return p;
}

static COLD void release_held(void *p, enum release_call call)
{
    cancel_hold();
    release(p, call);
    cancel_let();
}

void *allocate(size_t size, enum alloc_kind kind, size_t alignment)
{
    if (__builtin_expect(thread_flags.cancels, 0))
        return allocate_held(size, kind, alignment);
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

/* The entry is marked before the block is free: afterwards it may be another thread's. An entry that is
 * marked already belongs to a block that was freed before, whatever the free lists can still tell. */
static __attribute__((noinline)) enum alloc_status free_marked(void *p, uint32_t freer, bool nested,
                                                               struct ledger_entry *ret_was)
{
    struct alloc_block block = {0};
    enum alloc_status status = alloc_find(p, &block);
    if (status != ALLOC_OK)
        return status;
    struct ledger_entry *entry = block.ledger, was = {0};
    if (entry)
        was = *entry;
    if (!record_free(entry, p, freer, nested))
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

COLD void release_wrong(void *p, enum release_call call, enum alloc_status status)
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
    uint32_t freer = 0;
    bool outermost = recorded_enter();
    if (may_capture(outermost) && face_state.free_stacks)
        freer = record_capture_free(&caller);
    struct alloc_nested nested;
    bool is_nested = recorded_nest(outermost, &nested);
    enum alloc_status status = free_marked(p, freer, !may_capture(outermost), &was);
    if (is_nested)
        alloc_nested_end(&nested);
    recorded_leave(outermost);
    if (__builtin_expect(status != ALLOC_OK, 0))
        release_wrong(p, call, status);
    else if (__builtin_expect(delete_is_mismatch(call, &was), 0))
        release_mismatched(p, call, &was);
}

void release(void *p, enum release_call call)
{
    if (!p)
        return;
    if (__builtin_expect(thread_flags.cancels, 0)) {
        release_held(p, call);
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
