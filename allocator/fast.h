/* SPDX-License-Identifier: MIT */
/*
 * fast.h - the two fast paths, inline, for the exported malloc and free.
 *
 *   malloc: heap = TLS -> class = table[size / 16] -> heap.bin[class]: pop
 *   free:   heap = TLS -> pool = heap.own[address / 16 KiB] -> in its range? a block's start? marked free? -> push
 *
 * No lock, no atomic read-modify-write, no "initialised yet?": a thread that is not attached, has exited or
 * is intercepted has the empty sentinel heap, on which every request misses and which owns no pool. Whether the
 * address is ours at all is answered by the range: own[] leads to a pool of this heap or to the empty pool.
 * scripts/check-instructions counts both.
 *
 * Not for a signal handler that interrupted one of these two, or the slow paths, in the same thread: for it they
 * must miss (nested.h). So that it can be told, whoever inlines them is an ALLOC_FAST function, in a section of its
 * own, and so is all that they call before the heap is whole again.
 */
#ifndef HEAPTALLY_FAST_H
#define HEAPTALLY_FAST_H

#include <string.h>

#include "allocator/address_map.h"
#include "allocator/allocator.h"
#include "allocator/class.h"
#include "allocator/heap.h"
#include "allocator/nested.h"
#include "allocator/pool.h"
#include "allocator/span.h"
#include "allocator/state.h"

/* A block, or NULL: then call alloc_malloc(). */
ALLOC_INSIDE void *alloc_malloc_fast(size_t size)
{
    if (unlikely(size > STEP_16_MAX))
        return NULL;
    struct heap *heap = alloc_heap;
    return bin_pop(heap, heap->class_of_16[(size + 15) >> 4]);
}

/* The next try: what came back meanwhile, sizes up to 32 KiB, and what the thread has cached of larger ones. A block, or
 * NULL: then call alloc_malloc(). */
void *alloc_malloc_next(size_t size);
/* The same, aligned; NULL: then call alloc_malloc_aligned(). */
void *alloc_aligned_next(size_t alignment, size_t size);

/* The pool of this heap that p is a live block of, or NULL. *ret_list is the list that p would head, *ret_index the block's. */
ALLOC_INSIDE struct pool *own_pool_at(const struct heap *heap, const void *p, uint64_t *ret_list,
                                      uint64_t *ret_index)
{
    struct pool *pool = heap->own[((uintptr_t)p >> SLOT_SHIFT) & heap->own_mask];
    uintptr_t offset = (uintptr_t)p - pool->start;
    if (unlikely(offset >= pool->carved))
        return NULL;
    /* What is left over, below, and the quotient; as pool_index() has it. */
    unsigned __int128 product = (unsigned __int128)offset * pool->divisor;
    *ret_index = (uint64_t)(product >> 64);
    if (unlikely((uint64_t)product > pool->remainder))
        return NULL;
    *ret_list = list_from(p, heap->secret);
    return unlikely(((const struct free_block *)p)->mark == *ret_list) ? NULL : pool;
}

ALLOC_INSIDE struct pool *own_pool_of(const struct heap *heap, const void *p, uint64_t *ret_list)
{
    uint64_t index;
    return own_pool_at(heap, p, ret_list, &index);
}

/* true when p was freed; false: nothing happened, call alloc_free(). p may be anything. */
ALLOC_INSIDE bool alloc_free_fast(void *p)
{
    struct heap *heap = alloc_heap;
    uint64_t list;
    struct pool *pool = own_pool_of(heap, p, &list);
    if (unlikely(pool == NULL))
        return false;
    if (unlikely(!pool_push(pool, p, list)))
        heap_pool_emptied(heap, pool);
    return true;
}

/* A block of another heap's pool, `entry` what alloc_free_span() said. true when p was freed. */
bool alloc_free_remote(void *p, uintptr_t entry);

/* `state` is the span's, as it was read last, and the heap is one. All that is called is called last, so that the others
 * need no stack. */
static inline bool free_span_next(struct heap *heap, struct pool *span, uint8_t state)
{
    uint32_t word;
    if (unlikely(!span_cache_try(&heap->spans, &word)))
        return false;
    forget(heap);
    forget(span);
    if (unlikely(!span_retire(span, state))) {
        span_cache_unlock(&heap->spans, word);
        return false;
    }
    /* Read now that nobody else will free it: a free that ours races with may have made another span of it. */
    size_t slots = span->slots;
    uint32_t more = word + (uint32_t)slots + SPANS_FREED;
    if (unlikely((more & (SPANS_FULL | SPANS_CLOSED | SPANS_LOOK)) != 0)) {
        span_put_slowly(heap, span, word);
        return true;
    }
    span_cache_push(&heap->spans, span, slots);
    span_cache_unlock(&heap->spans, more);
    return true;
}

/* The next try, `heap` alloc_heap, and not the sentinel. true when p, which may be anything, was a span and was freed. Otherwise *ret_entry is
 * what the map says of p, or 0. Of all entries only a chunk's is a multiple of a slot, so it is one if p is and their
 * distance too. Rotated, a distance that is not, or is longer than a chunk, is past every slot's number: so is that from
 * an entry of 0. */
static inline bool alloc_free_span(struct heap *heap, void *p, uintptr_t *ret_entry)
{
    uintptr_t entry;
    *ret_entry = 0;
    if (unlikely(!map_look((uintptr_t)p, &entry)))
        return false;
    *ret_entry = entry;
    uintptr_t offset = (uintptr_t)p - entry, slot = offset >> SLOT_SHIFT | offset << (64 - SLOT_SHIFT);
    if ((uintptr_t)p % SLOT_SIZE != 0 || slot - HEAD_SLOTS >= CHUNK_SLOTS - HEAD_SLOTS)
        return false;
    struct pool *span = (struct pool *)(entry + slot * sizeof(struct pool));
    uint8_t state = load_acquire(&span->state);
    return state == SLOT_SPAN && free_span_next(heap, span, state);
}

/* Both tries. false: call alloc_free(). */
static inline bool alloc_free_next(void *p)
{
    uintptr_t entry;
    return alloc_heap != SENTINEL_HEAP &&
           (alloc_free_span(alloc_heap, p, &entry) || alloc_free_remote(p, entry));
}

/* Staying is worth up to half the block wasted, and small change is never worth a copy. */
static inline bool alloc_fits_well(size_t size, size_t capacity)
{
    return size <= capacity && (size >= capacity / 2 || capacity <= 128);
}

/* What a growing block is moved to has room to grow on, a quarter, or it would be copied at every class it passes. Not if
 * this step was so long that the next of its kind would not fit: vectors that double. */
static inline size_t alloc_size_to_grow(size_t size, size_t capacity)
{
    return size <= capacity || size - capacity > capacity / 4 ? size : capacity + capacity / 4;
}

/* The block, moved or not, or NULL: nothing happened, call alloc_realloc(). */
ALLOC_INSIDE void *alloc_realloc_fast(void *p, size_t size)
{
    uint64_t list;
    struct pool *pool = own_pool_of(alloc_heap, p, &list);
    if (unlikely(pool == NULL))
        return NULL;
    size_t capacity = pool->block_size;
    if (likely(alloc_fits_well(size, capacity)))
        return p;
    size_t roomy = alloc_size_to_grow(size, capacity);
    void *copy = alloc_malloc_fast(roomy);
    if (copy == NULL && (copy = alloc_malloc_next(roomy)) == NULL)
        return NULL;
    memcpy(copy, p, size < capacity ? size : capacity);
    (void)alloc_free_fast(p);
    return copy;
}

#endif
