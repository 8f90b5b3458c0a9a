/* SPDX-License-Identifier: MIT */
/*
 * span.h - blocks of a few slots to 2 MiB: runs of whole slots; freed ones rest in their thread's cache.
 *
 *   malloc --> heap.spans.bin[slots] --(empty)--> a little longer ones --> slots_take(), arena lock
 *   free   --> heap.spans.bin[slots] --(full)---> all of the cache and this one: slots_give(), arena lock
 *
 * Whoever frees caches. A span in a cache is SLOT_CACHED, for which it is freed: two frees of one span that race differ
 * in who made that change. A cache holds up to SPAN_CACHE_SLOTS; ticks, thread exit, malloc_trim and running out of
 * memory empty it. 256 KiB, where 1 MiB is quicker in one workload and fatter in three: large-32k-256k takes 0.16, 0.15
 * and 0.14 of glibc's time with 256 KiB, 512 KiB and 1 MiB, but its peak is 1.21, 1.32 and 1.41 times glibc's; those of
 * realloc-double 1.36, 1.39 and 1.41, of calloc-large 1.13, 1.15 and 1.21 (`scripts/bench-allocators --rounds=9`).
 *
 * A free of the fast way, and what each step is proof of
 *   state is SLOT_SPAN?              racy: is it worth the trouble? Not a word is written for what is no span
 *   word <-> SPANS_LOCKED            the cache is ours: no tick is emptying it, and its counts are what it was
 *   state: SLOT_SPAN -> SLOT_CACHED  the span is ours: of two frees, on any two threads, one only gets here
 *   slots, bin[slots]                plain: nobody else looks at a span that is ours, or into a cache that is locked
 *   word = what it was, and one more free, and the span's slots
 * The lock is none of a span's, so it does not decide who frees it, and the state none of the cache's: both are needed.
 *
 * Invariants: a span on bin[n] has n slots and is SLOT_CACHED; the word has their sum; every SLOT_CACHED span is on one
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

#define SPAN_CACHE_SLOTS 16u
#define FREES_PER_LOOK   32u /* spans freed between two looks at the clock */

/* span_cache.word: everything that a free has to ask of the cache and to change in it, in one. While it is locked, its
 * owner has the counts. */
#define SPANS_NONE   (0x7fu - SPAN_CACHE_SLOTS) /* bits 0 to 7: this and the slots of all of them */
#define SPANS_FULL   0x80u                      /* ... so that this is set by too many; never stored */
#define SPANS_LOCKED 0x100u
#define SPANS_CLOSED 0x200u /* nothing is put in: decay is 0 */
#define SPANS_FREED  0x400u /* times the frees since the last look at the clock */
#define SPANS_LOOK   (FREES_PER_LOOK * SPANS_FREED)
#define SPANS_FREES  (2 * SPANS_LOOK - SPANS_FREED)

/* size and alignment at most SPAN_SIZE_MAX; heap may be NULL. Zeroed unless *ret_zeroed is false. */
void *span_alloc(struct heap *heap, size_t size, size_t alignment, bool *ret_zeroed);
/* `heap`: the caller's, or NULL. */
enum alloc_status span_free(struct heap *heap, struct pool *span);
/* The cache is locked, its word was `word`; the span was retired, and does not fit in, or it is time to look at the
 * clock. Unlocks. */
void span_put_slowly(struct heap *heap, struct pool *span, uint32_t word);
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

static inline unsigned spans_count(uint32_t word)
{
    return (word & (2 * SPANS_FULL - 1)) - SPANS_NONE;
}

/* Not the sentinel's, which is constant. *ret_word is what goes back into the word, with what has changed; to one that is
 * locked already nothing is done. */
static inline bool span_cache_try(struct span_cache *cache, uint32_t *ret_word)
{
    *ret_word = exchange_acquire(&cache->word, SPANS_LOCKED);
    return likely((*ret_word & SPANS_LOCKED) == 0);
}

/* By its own thread, which was ended in the middle, if nobody has the arena lock, under which others empty it. */
static inline bool span_cache_is_held(const struct span_cache *cache)
{
    return unlikely((load_relaxed(&cache->word) & SPANS_LOCKED) != 0);
}

static inline void span_cache_unlock(struct span_cache *cache, uint32_t word)
{
    store_release(&cache->word, word);
}

/* A span of just so many slots, not zeroed, or NULL. */
static inline void *span_cache_take(struct heap *heap, unsigned slots)
{
    struct span_cache *cache = &heap->spans;
    uint32_t word;
    /* Racy: the sentinel has none; of what another thread gives back meanwhile the second look tells. */
    if (load_relaxed(&cache->bin[slots]) == NULL || !span_cache_try(cache, &word))
        return NULL;
    struct pool *span = cache->bin[slots];
    if (unlikely(span == NULL)) {
        span_cache_unlock(cache, word);
        return NULL;
    }
    store_relaxed(&cache->bin[slots], span->next);
    span_cache_unlock(cache, word - slots);
    memset(span->span_ledger, 0, sizeof span->span_ledger);
    store_release(&span->state, SLOT_SPAN);
    return slot_memory(span);
}

/* The cache is locked, and is the caller's own: who reads bin[] without the lock is this very thread. The span, of so many
 * slots, is SLOT_CACHED. */
static inline void span_cache_push(struct span_cache *cache, struct pool *span, size_t slots)
{
    span->next = cache->bin[slots];
    cache->bin[slots] = span;
}

/* One thread only is told true for a span, until it is handed out again. `live` is its state, as it was read last: a swap
 * that fails would take its pool's owner's line away all the same. */
static inline bool span_retire(struct pool *span, uint8_t live)
{
    return live == SLOT_SPAN && cas_acq_rel(&span->state, &live, SLOT_CACHED);
}

#endif
