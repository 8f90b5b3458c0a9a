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

#include "allocator/allocator.h"
#include "allocator/class.h"
#include "allocator/heap.h"
#include "allocator/nested.h"
#include "allocator/pool.h"
#include "allocator/state.h"

/* A block, or NULL: then call alloc_malloc(). */
static inline void *alloc_malloc_fast(size_t size)
{
    if (unlikely(size > STEP_16_MAX))
        return NULL;
    struct heap *heap = alloc_heap;
    return bin_pop(heap, heap->class_of_16[(size + 15) >> 4]);
}

/* The next try: what came back meanwhile, and sizes up to 32 KiB. A block, or NULL: then call alloc_malloc(). */
void *alloc_malloc_next(size_t size);

/* true when p was freed; false: nothing happened, call alloc_free(). p may be anything. */
static inline bool alloc_free_fast(void *p)
{
    struct heap *heap = alloc_heap;
    struct pool *pool = heap->own[((uintptr_t)p >> SLOT_SHIFT) & heap->own_mask];
    uintptr_t offset = (uintptr_t)p - pool->start;
    if (unlikely(offset >= pool->carved))
        return false;
    if (unlikely(offset * pool->divisor > pool->remainder))
        return false;
    uint64_t list = list_from(p, heap->secret);
    if (unlikely(((struct free_block *)p)->mark == list))
        return false;
    if (unlikely(!pool_push(pool, p, list)))
        heap_pool_emptied(heap, pool);
    return true;
}

#endif
