/* SPDX-License-Identifier: MIT */
/* span.c - see span.h. */
#include "allocator/span.h"

#include <string.h>

#include "allocator/chunk.h"
#include "allocator/purge.h"
#include "allocator/state.h"

static unsigned slots_for(size_t size)
{
    return size == 0 ? 1 : (unsigned)((size + SLOT_SIZE - 1) >> SLOT_SHIFT);
}

static void span_init(struct pool *span)
{
    memset(span->span_ledger, 0, sizeof span->span_ledger);
    span->divisor = 0; /* a span has no inner blocks: every address but its first is interior */
    span->block_size = 0;
    store_release(&span->state, SLOT_SPAN);
}

void *span_alloc(size_t size, size_t alignment, bool *ret_zeroed)
{
    unsigned slots = slots_for(size), align = slots_for(alignment);
    bool zeroed;
    state_lock(LOCK_ARENA);
    purge_tick();
    struct pool *span = slots_take(slots, align, &zeroed);
    if (span == NULL && purge_all_locked())
        span = slots_take(slots, align, &zeroed);
    if (span != NULL)
        span_init(span);
    state_unlock(LOCK_ARENA);
    if (span == NULL)
        return NULL;
    *ret_zeroed = zeroed;
    return slot_memory(span);
}

enum alloc_status span_free(struct pool *span)
{
    state_lock(LOCK_ARENA);
    if (span->state != SLOT_SPAN) {
        state_unlock(LOCK_ARENA);
        return ALLOC_DOUBLE_FREE;
    }
    slots_give(chunk_of(span), slot_index(span), span->slots, true);
    purge_tick();
    state_unlock(LOCK_ARENA);
    return ALLOC_OK;
}

bool span_resize(struct pool *span, size_t size)
{
    unsigned slots = slots_for(size);
    bool zeroed, done = true;
    state_lock(LOCK_ARENA);
    unsigned now = span->slots;
    if (slots < now) {
        slots_give(chunk_of(span), slot_index(span) + slots, now - slots, true);
        store_relaxed(&span->slots, (uint8_t)slots);
    } else if (slots > now) {
        done = slots_extend(span, slots - now, &zeroed);
    }
    state_unlock(LOCK_ARENA);
    return done;
}
