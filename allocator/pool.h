/* SPDX-License-Identifier: MIT */
/*
 * pool.h - one pool: its blocks, its two private lists, carving, and whether an address is a block of it.
 *
 *      start                          carved                 capacity * block_size
 *        | used | free | used | free  |  never on a list      | tail |
 *                  \-- free_list or local_free, by link
 *
 * Allocation pops free_list; the owner's frees push local_free. When free_list is empty, pool_replenish()
 * swaps local_free in, or collects the remote list, or carves a page's worth of fresh blocks. So the hot loop
 * touches one word of the pool, and what was just freed rests a little before it is handed out again.
 *
 * Threads: the owner only, but for pool_block(), pool_check(), pool_has_free().
 */
#ifndef HEAPTALLY_POOL_H
#define HEAPTALLY_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/allocator.h"
#include "allocator/atomics.h"
#include "allocator/chunk.h"
#include "allocator/layout.h"

/* A fresh pool's descriptor, on slots just taken; arena lock held. false: no memory for its ledger. */
bool pool_init(struct pool *pool, struct heap *owner, unsigned class, bool fresh);
/* No block is out: the slots go back. Arena lock held; the pool is on no list. */
void pool_release(struct pool *pool);

/* Fill free_list if it is empty and anything can be had. false: the pool is full. */
bool pool_replenish(struct pool *pool);
/* Something to hand out, now or after pool_replenish(). */
bool pool_has_space(const struct pool *pool);
/* Every block that is out has come back, some of them perhaps still on the remote list. */
bool pool_is_empty(const struct pool *pool);
/* free_list was written over: report, and give the list up. */
void pool_drop_list(struct pool *pool);
/* Rebuild list and count from what the lists hold: their owner may have vanished between two stores. */
void pool_mend(struct pool *pool);

/* What p is to this pool, p inside its slots. On ALLOC_OK and ALLOC_DOUBLE_FREE *ret_index is the block's. */
enum alloc_status pool_check(const struct pool *pool, uintptr_t p, uint32_t *ret_index);

static inline uint32_t pool_offset(const struct pool *pool, uintptr_t p)
{
    return (uint32_t)(p - (uintptr_t)slot_memory(pool));
}

static inline struct free_block *pool_block(const struct pool *pool, uint32_t index)
{
    return (struct free_block *)(void *)(slot_memory(pool) + (size_t)index * pool->block_size);
}

/* offset / block_size, exact for every 32-bit offset. */
static inline uint32_t pool_index(const struct pool *pool, uint32_t offset)
{
    return (uint32_t)(((unsigned __int128)offset * pool->divisor) >> 64);
}

/* --- a free block's two words --------------------------------------------------------------------------- */

static inline void free_block_write(struct free_block *block, const struct free_block *next, uint64_t secret)
{
    uint64_t link = (uintptr_t)next ^ secret;
    store_relaxed(&block->link, link);
    store_relaxed(&block->check, link ^ (uintptr_t)block ^ secret);
}

/* Free memory always seems free; live memory by one chance in 2^64. */
static inline bool free_block_seems(const struct free_block *block, uint64_t secret)
{
    return (load_relaxed(&block->link) ^ load_relaxed(&block->check)) == ((uintptr_t)block ^ secret);
}

static inline struct free_block *free_block_next(const struct free_block *block, uint64_t secret)
{
    return (struct free_block *)(uintptr_t)(load_relaxed(&block->link) ^ secret);
}

/* --- the two halves of the fast paths ------------------------------------------------------------------- */

/* A block, or NULL: the list is empty, or its first block was written over. */
static inline void *pool_pop(struct pool *pool, uint64_t secret)
{
    struct free_block *block = load_relaxed(&pool->free_list);
    if (unlikely(block == NULL))
        return NULL;
    if (unlikely(!free_block_seems(block, secret)))
        return NULL;
    store_relaxed(&pool->free_list, free_block_next(block, secret));
    store_relaxed(&block->check, 0);
    store_relaxed(&pool->used, pool->used + 1);
    return block;
}

/* Returns what is left in use. */
static inline uint32_t pool_push(struct pool *pool, void *p, uint64_t secret)
{
    struct free_block *block = p;
    free_block_write(block, load_relaxed(&pool->local_free), secret);
    store_relaxed(&pool->local_free, block);
    uint32_t used = pool->used - 1;
    store_relaxed(&pool->used, used);
    return used;
}

#endif
