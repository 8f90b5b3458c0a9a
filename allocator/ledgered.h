/* SPDX-License-Identifier: MIT */
/*
 * ledgered.h - the fast paths for a caller that keeps the ledger, and for whom the exported ones' miss (allocator.h).
 *
 *   take: heap = the thread's own -> bin: pop; its entry is the active pool's, by the block's index
 *   find: pool = heap.own[address / 16 KiB], as the fast free finds it -> block, entry
 *   give: push
 *
 * The caller fills the whole entry: it is as the last block left it. The heap is `busy` meanwhile, so that a handler on
 * this thread does without it, whoever runs it.
 *
 * Threads: the caller's own heap only.
 */
#ifndef HEAPTALLY_LEDGERED_H
#define HEAPTALLY_LEDGERED_H

#include "allocator/fast.h"

/* The thread's heap, unless the slow paths have to be asked whether it may be used. The caller has seen to it that the
 * thread is not nested (nested.h). */
static inline struct heap *ledgered_heap(void)
{
    struct heap *heap = alloc_own_heap;
    if (unlikely(heap == NULL || heap == EXITED_HEAP ||
                 (load_relaxed(&heap->busy) | load_relaxed(&alloc_thread.locks)) != 0 ||
                 !alloc_state.keep_ledger))
        return NULL;
    return heap;
}

static inline void *ledgered_entry(const struct pool *pool, const void *p)
{
    uint32_t offset = (uint32_t)((uintptr_t)p - pool->start);
    return pool->ledger + (size_t)pool_index(pool, offset) * ALLOC_LEDGER_BYTES;
}

/* A block, or NULL: then call alloc_malloc() and alloc_find(). */
static inline void *alloc_take_ledgered(size_t size, void **ret_entry)
{
    struct heap *heap = ledgered_heap();
    if (unlikely(size > STEP_16_MAX || heap == NULL))
        return NULL;
    unsigned class = heap->class_of_16[(size + 15) >> 4];
    heap_enter(heap);
    void *p = bin_pop(heap, class);
    if (likely(p != NULL))
        *ret_entry = ledgered_entry(heap->current[class], p);
    heap_leave(heap);
    return p;
}

/* The thread's own pool of which p, which may be anything, is a live block; or NULL: then call alloc_find(). */
static inline struct pool *alloc_find_ledgered(const void *p, void **ret_entry)
{
    uint64_t list;
    const struct heap *heap = ledgered_heap();
    struct pool *pool = likely(heap != NULL) ? own_pool_of(heap, p, &list) : NULL;
    if (unlikely(pool == NULL))
        return NULL;
    *ret_entry = ledgered_entry(pool, p);
    return pool;
}

/* p, as just found. */
static inline void alloc_give_ledgered(struct pool *pool, void *p)
{
    struct heap *heap = alloc_own_heap;
    heap_enter(heap);
    heap_free(heap, pool, p);
    heap_leave(heap);
}

#endif
