/* SPDX-License-Identifier: MIT */
/*
 * ledgered.h - the fast paths for a caller that keeps the ledger, and for whom the exported ones' miss (allocator.h).
 *
 *   take: heap = the thread's own -> bin: pop; its entry is the active pool's, by the block's index
 *   find: pool = heap.own[address / 16 KiB], as the fast free finds it -> block, entry
 *   give: push; of another heap's pool, to its remote list; of an own one with purged pages, as alloc_free() does
 *
 * The caller fills the whole entry: it is as the last block left it. As with fast.h, whoever inlines them is an ALLOC_FAST
 * function, and so is all that it calls before the heap is whole again; but for alloc_find_ledgered(), which only reads, of a
 * pool that stays as long as the block is live.
 *
 * Threads: the caller's own heap only, but for what is called remote.
 */
#ifndef HEAPTALLY_LEDGERED_H
#define HEAPTALLY_LEDGERED_H

#include "allocator/fast.h"
#include "allocator/pool_pages.h"
#include "allocator/remote.h"

ALLOC_INSIDE void *alloc_entry_of(const struct pool *pool, const void *block)
{
    uint32_t index = pool_index(pool, (uint32_t)((uintptr_t)block - pool->start));
    return pool->ledger + (size_t)index * ALLOC_LEDGER_BYTES;
}

/* A block, or NULL: then call alloc_malloc() and alloc_find(). */
ALLOC_INSIDE void *alloc_take_ledgered(size_t size, void **ret_entry)
{
    if (unlikely(size > STEP_16_MAX))
        return NULL;
    struct heap *heap = alloc_ledger_heap;
    unsigned class = heap->class_of_16[(size + 15) >> 4];
    void *p = bin_pop(heap, class);
    if (unlikely(p == NULL))
        return NULL;
    *ret_entry = alloc_entry_of(heap->current[class], p);
    return p;
}

/* Whether there can be blocks for alloc_take_ledgered() at all, now. */
ALLOC_INSIDE bool alloc_takes_ledgered(void)
{
    return alloc_ledger_heap != SENTINEL_HEAP;
}

/* A live block of the thread's own. */
struct alloc_ledgered {
    struct pool *pool; /* NULL: it is none, and p may be anything; call alloc_find() */
    uint64_t list;     /* that p would head */
    void *entry;
};

ALLOC_INSIDE struct alloc_ledgered alloc_find_ledgered(const void *p)
{
    struct alloc_ledgered found = {.entry = NULL};
    uint64_t index;
    found.pool = own_pool_at(alloc_ledger_heap, p, &found.list, &index);
    if (likely(found.pool != NULL))
        found.entry = found.pool->ledger + index * ALLOC_LEDGER_BYTES;
    return found;
}

/* The same of a block that was found before, and whose pool is known. */
ALLOC_INSIDE struct alloc_ledgered alloc_found_ledgered(struct pool *pool, const void *p)
{
    const struct alloc_ledgered found = {pool, list_from(p, alloc_ledger_heap->secret),
                                         alloc_entry_of(pool, p)};
    return found;
}

/* p, as just found. false: it is free, and alloc_settle_ledgered() is due. */
ALLOC_INSIDE bool alloc_give_ledgered(const struct alloc_ledgered *found, void *p)
{
    return pool_push(found->pool, p, found->list);
}

static inline bool alloc_is_own(const struct pool *pool)
{
    return (load_relaxed(&pool->owner) & ~POOL_UNLISTED) == (uintptr_t)alloc_own_heap;
}

/* A live block of another heap's pool, or of one of its own that alloc_find_ledgered() does not know (pool_pages.h), by all it
 * takes one look to see, and where nothing keeps this thread from being quick; or a pool of NULL. It stays so while nobody else
 * frees the block. */
ALLOC_INSIDE struct alloc_ledgered alloc_find_remote_ledgered(const void *block)
{
    struct alloc_ledgered found = {.pool = NULL};
    uintptr_t p = (uintptr_t)block, entry;
    if (alloc_ledger_heap == SENTINEL_HEAP || !map_look(p, &entry) || entry != chunk_base(p) ||
        p - entry < HEAD_SLOTS << SLOT_SHIFT)
        return found;
    struct pool *pool = chunk_descriptor(p);
    pool -= load_relaxed(&pool->distance);
    if (load_acquire(&pool->state) != SLOT_POOL)
        return found;
    uintptr_t offset = p - pool->start;
    unsigned char *ledger = pool->ledger;
    if (ledger == NULL || offset >= load_relaxed(&pool->carved) || offset * pool->divisor > pool->remainder)
        return found;
    /* In a page that is purged nothing tells what is free; which pages of another heap's pool are may be otherwise by now. */
    uint32_t index = pool_index(pool, (uint32_t)offset);
    if (alloc_is_own(pool) ? pool_block_is_purged(pool, index) : load_relaxed(&pool->purged) != 0)
        return found;
    if (free_block_seems(block, alloc_root_data.secret))
        return found;
    found.pool = pool;
    found.entry = ledger + (size_t)index * ALLOC_LEDGER_BYTES;
    return found;
}

/* p, as just found. false: call alloc_free(). */
static inline bool alloc_give_remote_ledgered(const struct alloc_ledgered *found, void *p)
{
    return !alloc_is_own(found->pool) && remote_push(found->pool, p);
}

ALLOC_INSIDE void alloc_settle_ledgered(struct pool *pool)
{
    heap_pool_emptied(alloc_ledger_heap, pool);
}

#endif
