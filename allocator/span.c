/* SPDX-License-Identifier: MIT */
/* span.c - see span.h. */
#include "allocator/span.h"

#include "allocator/purge.h"
#include "allocator/state.h"

/* How often to try for a cache that its owner has in hand; a signal handler may have interrupted that owner. */
#define FLUSH_TRIES 1000

/* A span this much longer than asked for will do. */
static unsigned slots_tolerated(unsigned slots)
{
    return slots + slots / 8;
}

/* --- the cache, arena lock held ------------------------------------------------------------------------- */

static void bin_give(struct span_cache *cache, unsigned slots)
{
    struct pool *span = cache->bin[slots], *next;
    store_relaxed(&cache->bin[slots], NULL);
    for (; span != NULL; span = next) {
        next = span->next;
        slots_give(chunk_of(span), slot_index(span), slots, true);
    }
}

static void cache_flush(struct span_cache *cache)
{
    int tries = 0;
    while (!span_cache_try(cache)) {
        if (++tries == FLUSH_TRIES)
            return;
        __builtin_ia32_pause();
    }
    for (unsigned slots = 1; cache->slots != 0 && slots <= SPAN_SLOTS_MAX; slots++)
        bin_give(cache, slots);
    store_relaxed(&cache->slots, 0);
    span_cache_unlock(cache);
}

void span_caches_flush(void)
{
    /* `slots` is read without the cache's lock: what comes in now is the next tick's. */
    for (struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all)
        if (load_relaxed(&heap->spans.slots) != 0)
            cache_flush(&heap->spans);
}

void span_cache_empty(struct heap *heap)
{
    if (load_relaxed(&heap->spans.slots) == 0)
        return;
    state_lock(LOCK_ARENA);
    cache_flush(&heap->spans);
    state_unlock(LOCK_ARENA);
}

void span_caches_settle(void)
{
    for (struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all)
        if (heap->spans.slots != 0 || heap->spans.lock != 0)
            memset(&heap->spans, 0, sizeof heap->spans);
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++) {
        struct chunk *chunk = alloc_state.chunks[i];
        for (unsigned slot = HEAD_SLOTS; slot < CHUNK_SLOTS; slot++)
            if (chunk->pools[slot].state == SLOT_CACHED)
                slots_give(chunk, slot, chunk->pools[slot].slots, true);
    }
}

static void *cache_take_near(struct heap *heap, unsigned slots)
{
    void *p = NULL;
    for (unsigned n = slots; p == NULL && n <= slots_tolerated(slots) && n <= SPAN_SLOTS_MAX; n++)
        p = span_cache_take(heap, n);
    return p;
}

/* --- allocating ----------------------------------------------------------------------------------------- */

static void span_init(struct pool *span)
{
    memset(span->span_ledger, 0, sizeof span->span_ledger);
    span->divisor = 0; /* a span has no inner blocks: every address but its first is interior */
    span->block_size = 0;
    store_release(&span->state, SLOT_SPAN);
}

static struct pool *span_create(unsigned slots, unsigned align, bool *ret_zeroed)
{
    state_lock(LOCK_ARENA);
    purge_tick();
    struct pool *span = slots_take(slots, align, ret_zeroed);
    if (span == NULL && purge_all_locked())
        span = slots_take(slots, align, ret_zeroed);
    if (span != NULL)
        span_init(span);
    alloc_state.large_seen = true;
    state_unlock(LOCK_ARENA);
    return span;
}

void *span_alloc(struct heap *heap, size_t size, size_t alignment, bool *ret_zeroed)
{
    unsigned slots = span_slots_for(size), align = span_slots_for(alignment);
    if (heap != NULL && align == 1) {
        void *p = cache_take_near(heap, slots);
        if (p != NULL) {
            *ret_zeroed = false;
            return p;
        }
    }
    struct pool *span = span_create(slots, align, ret_zeroed);
    return span == NULL ? NULL : slot_memory(span);
}

/* --- freeing -------------------------------------------------------------------------------------------- */

/* A cache that is full is emptied, rather than passed by: its next frees are cheap again. */
void span_give(struct heap *heap, struct pool *span)
{
    state_lock(LOCK_ARENA);
    if (heap != NULL)
        cache_flush(&heap->spans);
    slots_give(chunk_of(span), slot_index(span), span->slots, true);
    purge_tick();
    state_unlock(LOCK_ARENA);
}

enum alloc_status span_free(struct heap *heap, struct pool *span)
{
    if (!span_retire(span, load_acquire(&span->state)))
        return ALLOC_DOUBLE_FREE;
    bool cached = false;
    if (heap != NULL && span_cache_try(&heap->spans)) {
        cached = span_cache_put(&heap->spans, span);
        span_cache_unlock(&heap->spans);
    }
    if (!cached)
        span_give(heap, span);
    purge_poll();
    return ALLOC_OK;
}

/* --- realloc -------------------------------------------------------------------------------------------- */

/* Slots that are free anyway: a block that grew once is likely to grow again. */
static unsigned headroom(unsigned slots)
{
    unsigned more = slots / 8;
    return slots + more > SPAN_SLOTS_MAX ? SPAN_SLOTS_MAX - slots : more;
}

static bool span_grow(struct pool *span, unsigned more)
{
    bool zeroed;
    return slots_extend(span, more + headroom(span->slots + more), &zeroed) ||
           slots_extend(span, more, &zeroed);
}

static void span_shrink(struct pool *span, unsigned slots)
{
    unsigned now = span->slots;
    slots_give(chunk_of(span), slot_index(span) + slots, now - slots, true);
    store_relaxed(&span->slots, (uint8_t)slots);
}

bool span_resize(struct pool *span, size_t size)
{
    unsigned slots = span_slots_for(size), now = span->slots;
    bool done = true;
    if (slots <= now && slots_tolerated(slots) >= now)
        return true;
    state_lock(LOCK_ARENA);
    if (slots < now)
        span_shrink(span, slots);
    else
        done = span_grow(span, slots - now);
    purge_tick();
    state_unlock(LOCK_ARENA);
    return done;
}
