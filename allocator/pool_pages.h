/* SPDX-License-Identifier: MIT */
/*
 * pool_pages.h - giving back the free pages inside a pool that is in use.
 *
 *   blocks   | u | f | f | f | f | f | u | f |       u in use, f free
 *   pages    |  page 0   |  page 1   |  page 2 |     page 1 touches free blocks only: it goes back to the kernel
 *   after    | u | f | p | p | p | p | u | f |       p: purged, on no list
 *
 * A page is purged when every block that touches it is free (or was never carved). The blocks that touch a purged
 * page leave the free list and the counts, and are told by the pool's bitmap of pages alone: what their memory said
 * is gone, the mark of a free block with it. So a pool with purged pages is not in its heap's `own` table: frees into
 * it take the slow path, which knows. A pool that runs dry takes its purged pages back one by one.
 *
 * Invariant of a quiescent pool: carved / block_size == used + length(free_list) + pool_purged_blocks().
 *
 * No allocator known to us does this; the price is that survivors spread over all pages of a pool still pin them.
 *
 * Threads: the pool's owner; for an orphan under the arena lock. pool_block_is_purged(): anybody.
 */
#ifndef HEAPTALLY_POOL_PAGES_H
#define HEAPTALLY_POOL_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "allocator/atomics.h"
#include "allocator/layout.h"

/* Which pools' pages may go. Tried and left: those of pools less than half in use, whenever the heap had grown by a
 * quarter. The benchmark's rising sizes then peaked at 57 instead of 77 MB, in 2.9 times the time: its pages were
 * wanted again. Those that rest, whenever it has grown by half, are another matter (heap.c, has_grown()). */
enum purge_what {
    PURGE_RESTED, /* where nothing was freed or taken since the last call */
    PURGE_ALL,
};

/* The pool's bin is empty. true when something was returned. */
bool pool_purge_pages(struct pool *pool, enum purge_what what);
/* *bin is empty: the lowest purged page's blocks. false: there is none. */
bool pool_take_back(struct pool *pool, uint64_t *bin);
/* How many carved blocks touch a purged page. */
uint32_t pool_purged_blocks(const struct pool *pool);

/* The pages that bytes [from, to) of a pool touch, as bits of pool.purged. */
static inline uint32_t pool_pages(uint64_t from, uint64_t to)
{
    unsigned first = (unsigned)(from >> POOL_PAGE_SHIFT), last = (unsigned)((to - 1) >> POOL_PAGE_SHIFT);
    return (uint32_t)(((uint64_t)2 << last) - ((uint64_t)1 << first));
}

static inline bool pool_block_is_purged(const struct pool *pool, uint32_t index)
{
    uint64_t from = (uint64_t)index * pool->block_size;
    return (load_relaxed(&pool->purged) & pool_pages(from, from + pool->block_size)) != 0;
}

#endif
