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
    uint32_t word;
    while (!span_cache_try(cache, &word)) {
        if (++tries == FLUSH_TRIES)
            return;
        __builtin_ia32_pause();
    }
    for (unsigned slots = 1; spans_count(word) != 0 && slots <= SPAN_SLOTS_MAX; slots++)
        bin_give(cache, slots);
    span_cache_unlock(cache, alloc_state.no_spans);
}

/* A racy read of the word: what comes in now is the next tick's. One that is locked is not known to be empty, and one that
 * is closed and need not be is not as it should be. */
static bool cache_is_empty(const struct span_cache *cache)
{
    return (load_relaxed(&cache->word) & ~SPANS_FREES) == alloc_state.no_spans;
}

void span_caches_flush(void)
{
    for (struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all)
        if (!cache_is_empty(&heap->spans))
            cache_flush(&heap->spans);
}

void span_cache_empty(struct heap *heap)
{
    if (spans_count(load_relaxed(&heap->spans.word)) == 0)
        return;
    state_lock(LOCK_ARENA);
    cache_flush(&heap->spans);
    state_unlock(LOCK_ARENA);
}

void span_caches_settle(void)
{
    for (struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all)
        if (!cache_is_empty(&heap->spans))
            heap->spans = (struct span_cache){.word = alloc_state.no_spans};
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
static void span_give(struct heap *heap, struct pool *span)
{
    state_lock(LOCK_ARENA);
    if (heap != NULL)
        cache_flush(&heap->spans);
    slots_give(chunk_of(span), slot_index(span), span->slots, true);
    purge_tick();
    state_unlock(LOCK_ARENA);
}

void span_put_slowly(struct heap *heap, struct pool *span, uint32_t word)
{
    unsigned slots = span->slots;
    uint32_t more = (word & ~SPANS_FREES) + slots;
    if ((more & (SPANS_FULL | SPANS_CLOSED)) != 0) {
        span_cache_unlock(&heap->spans, word);
        span_give(heap, span);
        return;
    }
    span_cache_push(&heap->spans, span, slots);
    span_cache_unlock(&heap->spans, more);
    purge_poll();
}

enum alloc_status span_free(struct heap *heap, struct pool *span)
{
    uint32_t word;
    if (!span_retire(span, load_acquire(&span->state)))
        return ALLOC_DOUBLE_FREE;
    if (heap != NULL && span_cache_try(&heap->spans, &word))
        span_put_slowly(heap, span, word);
    else
        span_give(heap, span);
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
