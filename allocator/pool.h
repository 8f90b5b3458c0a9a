/* SPDX-License-Identifier: MIT */
/*
 * pool.h - one pool: its blocks, its list, carving, and whether an address is a block of it.
 *
 *      start                          carved                 capacity * block_size
 *        | used | free | used | free  |  never on a list      | tail |
 *                  \-- the heap's bin, or free_list, by link
 *
 * Allocation pops the heap's bin of the class, which holds blocks of one pool, the active one. The owner's frees
 * push the pool's free_list. When the bin is empty, pool_replenish() moves the whole free_list to it, or the
 * remote list, or carves a page's worth of fresh blocks. So the hot paths touch no descriptor to allocate and one
 * line of it to free, and what was just freed rests a little before it is handed out again.
 *
 * Threads: the owner only, but for pool_block(), pool_check().
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
#include "allocator/state.h"

/* A fresh pool's descriptor, on slots just taken; arena lock held. false: no memory for its ledger. */
bool pool_init(struct pool *pool, struct heap *owner, unsigned class, bool fresh);
/* No block is out: the slots go back. Arena lock held; the pool is on no ring, and nothing of it on a bin. */
void pool_release(struct pool *pool);

/* Move what can be had to *bin, which is empty. false: the pool is full. */
bool pool_replenish(struct pool *pool, uint64_t *bin);
/* The list that just moved to *bin is short: carve some more, if it often is. */
void pool_lengthen(struct pool *pool, uint64_t *bin, uint32_t length);
/* Take back what *bin still has, all of it the pool's. */
void pool_retake(struct pool *pool, uint64_t *bin);
/* Something to hand out, now or after pool_replenish(). */
bool pool_has_space(const struct pool *pool);
/* `used` is itself again. */
void pool_undisguise(struct pool *pool);
/* Rebuild list and count from what the lists hold: their owner may have vanished between two stores. */
void pool_mend(struct pool *pool);

/* What p is to this pool, p inside its slots. On ALLOC_OK and ALLOC_DOUBLE_FREE *ret_index is the block's. */
enum alloc_status pool_check(const struct pool *pool, uintptr_t p, uint32_t *ret_index);

/* `used`, whatever it stands for. */
static inline uint32_t pool_used(const struct pool *pool)
{
    return load_relaxed(&pool->full) ? pool->capacity : load_relaxed(&pool->used);
}

/* Every block that is out has come back, some of them perhaps still on the remote list. */
static inline bool pool_is_empty(const struct pool *pool)
{
    return pool_used(pool) == REMOTE_COUNT(load_acquire(&pool->remote));
}

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

/* --- lists of free blocks ------------------------------------------------------------------------------- */

static inline uint64_t list_from(const void *block, uint64_t secret)
{
    return (uintptr_t)block ^ secret;
}

/* NULL: the list is empty. So is one of 0, which never was anything. */
static inline struct free_block *list_first(uint64_t list, uint64_t secret)
{
    uintptr_t address = list ^ secret;
    return list == 0 || (address & LIST_END) != 0 ? NULL : (struct free_block *)address;
}

/* The empty list of a pool, and of a bin whose blocks were the pool's. */
static inline uint64_t list_end(const struct pool *pool, uint64_t secret)
{
    return ((uintptr_t)chunk_of(pool) | LIST_END) ^ secret;
}

/* Free memory always seems free; live memory by one chance in 2^64. */
static inline bool free_block_seems(const struct free_block *block, uint64_t secret)
{
    return load_relaxed(&block->mark) == list_from(block, secret);
}

static inline void free_block_write(struct free_block *block, uint64_t rest, uint64_t secret)
{
    store_relaxed(&block->link, rest);
    store_relaxed(&block->mark, list_from(block, secret));
}

/* --- the two halves of the fast paths ------------------------------------------------------------------- */

/* A block, or NULL: the bin is empty, or its first block was written over. What ends a list can be read, and its
 * link is as far off as one that was written over: one comparison tells both. */
ALLOC_INSIDE void *bin_pop(struct heap *heap, size_t class)
{
    uint64_t list = heap->bin[class];
    struct free_block *block = (struct free_block *)(list ^ heap->secret);
    uint64_t rest = block->link;
    if (unlikely((list ^ rest) >> CHUNK_SHIFT != 0))
        return NULL;
    store_relaxed(&heap->bin[class], rest);
    store_relaxed(&block->mark, 0);
    return block;
}

#define POOL_SHORT 64u /* blocks; a list that comes back longer is long enough */

/* free_list, which is not empty, moves to the bin, which is. For a moment its blocks are on both: at none they are on
 * neither, where a reader of a stopped process would take them for live ones. */
ALLOC_INSIDE void pool_move_list(struct pool *pool, uint64_t *bin)
{
    uint64_t list = pool->free_list;
    uint32_t blocks = pool->blocks, length = blocks - pool->used;
    pool->list_is_zero = false;
    store_relaxed(bin, list);
    store_relaxed(&pool->free_list, list_end(pool, alloc_root_data.secret));
    store_relaxed(&pool->used, blocks);
    if (unlikely(length < POOL_SHORT && blocks < pool->capacity))
        pool_lengthen(pool, bin, length);
}

/* `list` is p's, as list_from() makes it. false: `used` is now 0. */
ALLOC_INSIDE bool pool_push(struct pool *pool, void *p, uint64_t list)
{
    struct free_block *block = p;
    store_relaxed(&block->link, pool->free_list);
    store_relaxed(&block->mark, list);
    store_relaxed(&pool->free_list, list);
    return count_down(&pool->used) != 0;
}

#endif
