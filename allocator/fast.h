/* SPDX-License-Identifier: MIT */
/*
 * fast.h - the two fast paths, inline, for the exported malloc and free.
 *
 *   malloc: heap = TLS -> class = table[size / 16] -> pool = heap.current[class] -> pop
 *   free:   map[address] -> descriptor -> is its owner my heap? -> is it a block, is it live? -> push
 *
 * No lock, no atomic read-modify-write, no "initialised yet?": a thread that is not attached, has exited or
 * is intercepted has the empty sentinel heap, on which every request misses and which owns no pool. A full
 * pool's owner word carries a bit, so that the one comparison also tells pools that need more work. Pools of
 * several slots are left to the slow path except in their first slot; those are the classes past 1 KiB.
 *
 * Not for a signal handler that interrupted one of these two, or the slow paths, in the same thread.
 */
#ifndef HEAPTALLY_FAST_H
#define HEAPTALLY_FAST_H

#include "allocator/address_map.h"
#include "allocator/allocator.h"
#include "allocator/class.h"
#include "allocator/heap.h"
#include "allocator/pool.h"
#include "allocator/state.h"

/* A block, or NULL: then call alloc_malloc(). */
static inline void *alloc_malloc_fast(size_t size)
{
    if (unlikely(size > STEP_16_MAX))
        return NULL;
    struct heap *heap = alloc_heap;
    return pool_pop(heap->current[alloc_class_of_16[(size + 15) >> 4]], heap->secret);
}

/* true when p was freed; false: nothing happened, call alloc_free(). p may be anything. */
static inline bool alloc_free_fast(void *p)
{
    uintptr_t address = (uintptr_t)p, base = chunk_base(address);
    if (unlikely(map_entry(address) != base || base == 0))
        return false;
    struct pool *pool = chunk_descriptor(address);
    struct heap *heap = alloc_heap;
    if (unlikely(load_relaxed(&pool->owner) != (uintptr_t)heap))
        return false;
    uint32_t offset = (uint32_t)(address & (SLOT_SIZE - 1));
    if (unlikely((uint64_t)offset * pool->divisor >= pool->divisor || offset >= pool->carved))
        return false;
    if (unlikely(free_block_seems(p, heap->secret)))
        return false;
    if (unlikely(pool_push(pool, p, heap->secret) == 0))
        heap_pool_emptied(heap, pool);
    return true;
}

#endif
