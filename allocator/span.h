/* SPDX-License-Identifier: MIT */
/*
 * span.h - blocks of a few slots to 2 MiB: runs of whole slots; freed ones rest in their thread's cache.
 *
 *   malloc --> heap.spans.bin[slots] --(empty)--> a little longer ones --> slots_take(), arena lock
 *   free   --> heap.spans.bin[slots] --(full)---> all of the cache and this one: slots_give(), arena lock
 *
 * Whoever frees caches. A span in a cache is SLOT_CACHED, for which it is freed: two frees of one span that race differ
 * in who made that change. A cache holds up to SPAN_CACHE_SLOTS; ticks, thread exit, malloc_trim and running out of
 * memory empty it. 512 KiB, where 2 MiB is quicker in one workload and fatter in three: large-32k-256k took 0.19 instead of 0.27
 * of glibc's time, and peaks were 1.59 instead of 1.35 times glibc's, those of realloc-double 1.88 instead of 1.57, of
 * calloc-large 1.38 instead of 1.24 (`scripts/bench-allocators --rounds=9`).
 *
 * Invariants: a span on bin[n] has n slots and is SLOT_CACHED; `slots` is their sum; every SLOT_CACHED span is on one
 * bin, or in the hands of a thread that is freeing or taking it.
 *
 * Threads: any.
 */
#ifndef HEAPTALLY_SPAN_H
#define HEAPTALLY_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "allocator/address_map.h"
#include "allocator/allocator.h"
#include "allocator/chunk.h"
#include "allocator/layout.h"
#include "allocator/state.h"

#define SPAN_CACHE_SLOTS 32u

/* size and alignment at most SPAN_SIZE_MAX; heap may be NULL. Zeroed unless *ret_zeroed is false. */
void *span_alloc(struct heap *heap, size_t size, size_t alignment, bool *ret_zeroed);
/* `heap`: the caller's, or NULL. */
enum alloc_status span_free(struct heap *heap, struct pool *span);
/* One that was retired and not put in the cache. */
void span_give(struct heap *heap, struct pool *span);
/* In place, by giving slots back or taking the next ones; false leaves it as it was. */
bool span_resize(struct pool *span, size_t size);

/* A thread ends. Takes the arena lock. */
void span_cache_empty(struct heap *heap);
/* Arena lock held: what lies in any thread's cache becomes free slots. */
void span_caches_flush(void);
/* In a forked child, arena lock held: spans in vanished threads' caches and hands become free slots. */
void span_caches_settle(void);

static inline size_t span_capacity(const struct pool *span)
{
    return (size_t)span->slots << SLOT_SHIFT;
}

static inline unsigned span_slots_for(size_t size)
{
    return size == 0 ? 1 : (unsigned)((size + SLOT_SIZE - 1) >> SLOT_SHIFT);
}

/* --- the cache ------------------------------------------------------------------------------------------ */

static inline bool span_cache_try(struct span_cache *cache)
{
    uint32_t none = 0;
    return load_relaxed(&cache->lock) == 0 &&
           __atomic_compare_exchange_n(&cache->lock, &none, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void span_cache_unlock(struct span_cache *cache)
{
    store_release(&cache->lock, 0);
}

/* A span of just so many slots, not zeroed, or NULL. */
static inline void *span_cache_take(struct heap *heap, unsigned slots)
{
    struct span_cache *cache = &heap->spans;
    if (load_relaxed(&cache->bin[slots]) == NULL || !span_cache_try(cache))
        return NULL;
    struct pool *span = cache->bin[slots];
    if (unlikely(span == NULL)) {
        span_cache_unlock(cache);
        return NULL;
    }
    store_relaxed(&cache->bin[slots], span->next);
    store_relaxed(&cache->slots, cache->slots - slots);
    span_cache_unlock(cache);
    memset(span->span_ledger, 0, sizeof span->span_ledger);
    store_release(&span->state, SLOT_SPAN);
    return slot_memory(span);
}

/* The cache is the caller's. false: it does not fit in. The span is SLOT_CACHED, and nobody else will free it. */
static inline bool span_cache_put(struct span_cache *cache, struct pool *span)
{
    size_t slots = span->slots;
    uint64_t sum = cache->slots + slots;
    if (unlikely(sum > load_relaxed(&alloc_state.span_cache_bound)))
        return false;
    store_relaxed(&cache->slots, sum);
    span->next = cache->bin[slots];
    store_relaxed(&cache->bin[slots], span);
    return true;
}

/* One thread only is told true for a span, until it is handed out again. */
static inline bool span_retire(struct pool *span, uint8_t live)
{
    return live == SLOT_SPAN && cas_acq_rel(&span->state, &live, SLOT_CACHED);
}

#endif
