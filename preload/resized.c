/* SPDX-License-Identifier: MIT */
/* The slow path of realloc; see recorded.c. */
#include "preload/recorded_parts.h"

#include <string.h>

#include "preload/account.h"
#include "preload/foreign.h"
#include "preload/harden.h"
#include "preload/misuse.h"

/* A block from before the recording, resized by a nested call: its entry must not stay marked as freed. */
static void note_missed(struct ledger_entry *entry, const struct ledger_entry *old)
{
    record_missed();
    if (entry && entry->state == LEDGER_FREED)
        *entry = *old;
}

#define NOT_SELECTED UINT32_MAX /* a site that is none: the block is not recorded (record_selects()) */

static uint32_t freer_of(uint32_t site)
{
    return site == NOT_SELECTED ? 0 : site;
}

/* The new block's entry. A nested call takes no stack: the block keeps the site it had. */
static void note_resized(void *q, void *entry, uint32_t site, size_t size, const struct ledger_entry *old,
                         bool nested)
{
    if (site == NOT_SELECTED)
        record_block(entry, q, RECORD_NO_SITE, size, KIND_REALLOC, nested);
    else if (site != 0)
        record_block(entry, q, site, size, KIND_REALLOC, nested);
    else if (old->state == LEDGER_LIVE)
        record_block(entry, q, old->site, size, (enum alloc_kind)old->kind, nested);
    else
        note_missed(entry, old);
    if (entry)
        ((struct ledger_entry *)entry)->flags |=
            (old->flags & LEDGER_IGNORED) | (thread_flags.ignore_depth ? LEDGER_IGNORED : 0);
}

static inline enum alloc_status resize(const struct alloc_block *block, const struct ledger_entry *was,
                                       size_t size, void **ret_block)
{
    if (!face_state.hardened)
        return alloc_realloc(block->start, size, ret_block);
    *ret_block = harden_resize(block, was, size);
    return ALLOC_OK;
}

static enum alloc_status resize_recorded(void *p, uint32_t site, size_t size, bool nested, void **ret_block)
{
    struct alloc_block block = {0};
    enum alloc_status status = alloc_find(p, &block);
    if (status != ALLOC_OK)
        return status;
    uint32_t freer = freer_of(site);
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
    record_claimed(&old, nested);
    if (*ret_block != p)
        note_freed(p, &block, &old, freer);
    note_resized(*ret_block, entry_of(*ret_block), site, size, &old, nested);
    return status;
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

static COLD void *reallocate_held(void *p, size_t size)
{
    cancel_hold();
    void *q = reallocate(p, size);
    cancel_let();
    return q;
}

static __attribute__((noinline)) void *reallocate_recorded(void *p, size_t size)
{
    struct record_caller caller = record_caller();
    enum alloc_status status;
    void *q = NULL;
    bool outermost = recorded_enter();
    uint32_t site = 0;
    if (may_capture(outermost))
        site = !record_hot.selective || record_selects(size) ? record_capture(&caller) : NOT_SELECTED;
    struct alloc_nested nested;
    bool is_nested = recorded_nest(outermost, &nested);
    status = resize_recorded(p, site, size, !may_capture(outermost), &q);
    if (is_nested)
        alloc_nested_end(&nested);
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
    if (__builtin_expect(thread_flags.cancels, 0))
        return reallocate_held(p, size);
    face_enter();
    return face_state.recording ? reallocate_recorded(p, size) : reallocate_unrecorded(p, size);
}
