/* SPDX-License-Identifier: MIT */
/* pool.c - see pool.h. */
#include "allocator/pool.h"

#include <string.h>

#include "allocator/class.h"
#include "allocator/metadata.h"
#include "allocator/remote.h"
#include "allocator/state.h"

/* Fresh blocks are carved about a page at a time: touching more would make memory resident for nothing. */
#define CARVE_BYTES PLATFORM_PAGE

static size_t ledger_size(const struct pool *pool)
{
    return (size_t)pool->capacity * ALLOC_LEDGER_BYTES;
}

bool pool_init(struct pool *pool, struct heap *owner, unsigned class, bool fresh)
{
    const struct size_class *row = &alloc_class[class];
    pool->capacity = row->capacity;
    pool->ledger = NULL;
    if (alloc_state.keep_ledger && (pool->ledger = metadata_take(ledger_size(pool))) == NULL)
        return false;
    pool->divisor = row->divisor;
    pool->block_size = row->size;
    pool->size_class = (uint8_t) class;
    pool->fresh = fresh;
    pool->list_is_zero = false;
    pool->torn = false;
    pool->next = pool->prev = pool->pending_next = NULL;
    store_relaxed(&pool->free_list, NULL);
    store_relaxed(&pool->local_free, NULL);
    store_relaxed(&pool->used, 0);
    store_relaxed(&pool->carved, 0);
    store_relaxed(&pool->remote, 0);
    store_relaxed(&pool->owner, (uintptr_t)owner);
    /* Last: a reader that sees a pool sees all of it. */
    store_release(&pool->state, SLOT_POOL);
    return true;
}

void pool_release(struct pool *pool)
{
    if (pool->ledger != NULL)
        metadata_give(pool->ledger, ledger_size(pool));
    pool->ledger = NULL;
    slots_give(chunk_of(pool), slot_index(pool), pool->slots, true);
}

/* --- filling the list ----------------------------------------------------------------------------------- */

/* The list is complete before `carved` covers it: whoever looks in between sees free blocks that were never
 * carved, which is no contradiction, instead of carved ones that are on no list, which would look alive. */
static bool pool_carve(struct pool *pool)
{
    uint32_t size = pool->block_size, done = pool_index(pool, pool->carved);
    uint32_t count = CARVE_BYTES / size == 0 ? 1 : CARVE_BYTES / size;
    if (count > (uint32_t)pool->capacity - done)
        count = (uint32_t)pool->capacity - done;
    if (count == 0)
        return false;
    struct free_block *next = NULL;
    for (uint32_t i = done + count; i-- > done;) {
        struct free_block *block = pool_block(pool, i);
        free_block_write(block, next, alloc_root_data.secret);
        next = block;
    }
    pool->list_is_zero = pool->fresh;
    store_relaxed(&pool->free_list, next);
    store_relaxed(&pool->carved, (done + count) * size);
    return true;
}

bool pool_replenish(struct pool *pool)
{
    if (load_relaxed(&pool->free_list) != NULL)
        return true;
    struct free_block *freed = load_relaxed(&pool->local_free);
    if (freed != NULL) {
        pool->list_is_zero = false;
        store_relaxed(&pool->free_list, freed);
        store_relaxed(&pool->local_free, NULL);
        return true;
    }
    return remote_collect(pool) || pool_carve(pool);
}

bool pool_has_space(const struct pool *pool)
{
    return load_relaxed(&pool->free_list) != NULL || load_relaxed(&pool->local_free) != NULL ||
           REMOTE_HEAD(load_relaxed(&pool->remote)) != 0 ||
           pool->carved < (uint32_t)pool->capacity * pool->block_size;
}

bool pool_is_empty(const struct pool *pool)
{
    return pool->used == REMOTE_COUNT(load_acquire(&pool->remote));
}

void pool_drop_list(struct pool *pool)
{
    const void *block = load_relaxed(&pool->free_list);
    store_relaxed(&pool->free_list, NULL);
    state_report_corruption(block);
}

/* --- is it a block, is it free -------------------------------------------------------------------------- */

/* Is p on the list that starts at `block`? Each step is checked to stay in the pool, and their number is
 * bounded, so a list that its owner changes meanwhile, or that was overwritten, ends the search and misleads
 * nobody. */
static bool list_holds(const struct pool *pool, const struct free_block *block, uintptr_t p)
{
    uint64_t secret = alloc_root_data.secret;
    uint32_t size = (uint32_t)pool->capacity * pool->block_size;
    for (uint32_t steps = 0; block != NULL && steps <= pool->capacity; steps++) {
        if ((uintptr_t)block == p)
            return true;
        if (pool_offset(pool, (uintptr_t)block) >= size || ((uintptr_t)block & 15) != 0)
            return false;
        block = free_block_next(block, secret);
    }
    return false;
}

/* Two rounds: a block that its owner moves from one list to another while we look is found in the second. */
static bool pool_has_free(const struct pool *pool, uintptr_t p)
{
    for (int round = 0; round < 2; round++) {
        if (list_holds(pool, load_relaxed(&pool->local_free), p))
            return true;
        uint32_t head = REMOTE_HEAD(load_acquire(&pool->remote));
        if (head != 0 && list_holds(pool, pool_block(pool, head - 1), p))
            return true;
        if (list_holds(pool, load_relaxed(&pool->free_list), p))
            return true;
    }
    return false;
}

enum alloc_status pool_check(const struct pool *pool, uintptr_t p, uint32_t *ret_index)
{
    uint32_t offset = pool_offset(pool, p);
    if ((uint64_t)offset * pool->divisor >= pool->divisor ||
        offset >= (uint32_t)pool->capacity * pool->block_size)
        return ALLOC_INTERIOR;
    *ret_index = pool_index(pool, offset);
    if (offset >= load_relaxed(&pool->carved))
        return ALLOC_DOUBLE_FREE;
    if (unlikely(free_block_seems((const struct free_block *)p, alloc_root_data.secret)) &&
        pool_has_free(pool, p))
        return ALLOC_DOUBLE_FREE;
    return ALLOC_OK;
}

/* --- after a fork --------------------------------------------------------------------------------------- */

struct marks {
    uint64_t word[POOL_CAPACITY_MAX / 64];
    uint32_t count, end; /* marked blocks; one past the highest of them */
};

static void marks_add_list(struct marks *marks, const struct pool *pool, const struct free_block *block)
{
    uint64_t secret = alloc_root_data.secret;
    for (uint32_t steps = 0; block != NULL && steps <= pool->capacity; steps++) {
        uint32_t offset = pool_offset(pool, (uintptr_t)block), index = pool_index(pool, offset);
        if (index >= pool->capacity || index * pool->block_size != offset || !free_block_seems(block, secret))
            return;
        uint64_t bit = (uint64_t)1 << index % 64;
        marks->count += (marks->word[index / 64] & bit) == 0;
        marks->word[index / 64] |= bit;
        marks->end = index >= marks->end ? index + 1 : marks->end;
        block = free_block_next(block, secret);
    }
}

/* A list in ascending order of all marked blocks. */
static struct free_block *marks_to_list(const struct marks *marks, const struct pool *pool)
{
    struct free_block *next = NULL;
    for (uint32_t i = marks->end; i-- > 0;) {
        if ((marks->word[i / 64] >> i % 64 & 1) == 0)
            continue;
        struct free_block *block = pool_block(pool, i);
        free_block_write(block, next, alloc_root_data.secret);
        next = block;
    }
    return next;
}

void pool_mend(struct pool *pool)
{
    struct marks marks = {.count = 0};
    /* First the remote list leaves the word, so that nothing comes onto it that we have not seen. */
    uint64_t remote = remote_take(pool);
    if (REMOTE_HEAD(remote) != 0)
        marks_add_list(&marks, pool, pool_block(pool, REMOTE_HEAD(remote) - 1));
    marks_add_list(&marks, pool, load_relaxed(&pool->free_list));
    marks_add_list(&marks, pool, load_relaxed(&pool->local_free));
    uint32_t carved = pool_index(pool, pool->carved);
    if (carved < marks.end)
        carved = marks.end;
    store_relaxed(&pool->free_list, marks_to_list(&marks, pool));
    store_relaxed(&pool->local_free, NULL);
    store_relaxed(&pool->carved, carved * pool->block_size);
    store_relaxed(&pool->used, carved - marks.count);
    pool->list_is_zero = false;
    pool->torn = false;
}
