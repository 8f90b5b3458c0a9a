/* SPDX-License-Identifier: MIT */
/* pool.c - see pool.h. */
#include "allocator/pool.h"

#include <string.h>

#include "allocator/class.h"
#include "allocator/metadata.h"
#include "allocator/pool_pages.h"
#include "allocator/remote.h"
#include "allocator/state.h"

/* Fresh blocks are carved about a page at a time: touching more would make memory resident for nothing. A list that
 * comes back and is shorter than SHORT_BYTES, and POOL_SHORT, is lengthened so: each return costs a slow path. */
#define CARVE_BYTES PLATFORM_PAGE
#define SHORT_BYTES ((size_t)48 << 10)

static size_t ledger_size(const struct pool *pool)
{
    return (size_t)pool->capacity * ALLOC_LEDGER_BYTES;
}

bool pool_init(struct pool *pool, struct heap *owner, unsigned class, bool fresh)
{
    const struct size_class *row = &alloc_class[class];
    pool->capacity = (uint16_t)(((uint32_t)pool->slots << SLOT_SHIFT) / row->size);
    pool->ledger = NULL;
    if (alloc_state.keep_ledger && (pool->ledger = metadata_take(ledger_size(pool))) == NULL)
        return false;
    pool->start = (uintptr_t)slot_memory(pool);
    pool->divisor = row->divisor;
    pool->remainder = row->divisor - 1;
    pool->block_size = row->size;
    pool->size_class = (uint8_t) class;
    pool->fresh = fresh;
    pool->list_is_zero = pool->torn = pool->full = pool->spare = pool->passed = false;
    pool->shorts = 0;
    pool->torn_list = 0;
    pool->age = 0;
    pool->searched = false;
    pool->blocks = 0;
    store_relaxed(&pool->purged, 0);
    pool->next = pool->prev = pool->pending_next = NULL;
    store_relaxed(&pool->free_list, list_end(pool, alloc_root_data.secret));
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
    if (pool->ledger != NULL) {
        const struct alloc_ledger ledger = {pool->ledger, pool_block(pool, 0), pool->block_size,
                                            pool_index(pool, (uint32_t)pool->carved)};
        if (alloc_state.on_ledger_gone != NULL)
            alloc_state.on_ledger_gone(&ledger);
        metadata_give(pool->ledger, ledger_size(pool));
    }
    pool->ledger = NULL;
    struct chunk *chunk = chunk_of(pool);
    unsigned from = slot_index(pool), n = pool->slots, touched = n;
    if (pool->fresh)
        touched = (unsigned)((pool->carved + SLOT_SIZE - 1) >> SLOT_SHIFT);
    if (touched < n)
        slots_give(chunk, from + touched, n - touched, false);
    if (touched > 0)
        slots_give(chunk, from, touched, true);
}

/* --- counts --------------------------------------------------------------------------------------------- */

void pool_undisguise(struct pool *pool)
{
    if (!pool->full)
        return;
    store_relaxed(&pool->used, pool->capacity);
    store_relaxed(&pool->full, false);
}

bool pool_has_space(const struct pool *pool)
{
    return list_first(load_relaxed(&pool->free_list), alloc_root_data.secret) != NULL ||
           REMOTE_HEAD(load_relaxed(&pool->remote)) != 0 || pool->purged != 0 ||
           pool->carved < (uint32_t)pool->capacity * pool->block_size;
}

/* --- filling the bin ------------------------------------------------------------------------------------ */

/* Fresh blocks before `list` on the bin. The list is complete before `carved` covers it: whoever looks in between sees
 * free blocks that were never carved, which is no contradiction, instead of carved ones that are on no list, which
 * would look alive. */
static bool pool_carve(struct pool *pool, uint64_t *bin, uint64_t list)
{
    uint64_t secret = alloc_root_data.secret;
    uint32_t size = pool->block_size, done = pool_index(pool, (uint32_t)pool->carved);
    uint32_t count = CARVE_BYTES / size == 0 ? 1 : CARVE_BYTES / size;
    if (count > (uint32_t)pool->capacity - done)
        count = (uint32_t)pool->capacity - done;
    if (count == 0)
        return false;
    for (uint32_t i = done + count; i-- > done;) {
        struct free_block *block = pool_block(pool, i);
        free_block_write(block, list, secret);
        list = list_from(block, secret);
    }
    store_relaxed(bin, list);
    store_relaxed(&pool->used, pool->used + count);
    pool->blocks = (uint16_t)(pool->blocks + count);
    store_relaxed(&pool->carved, (uint64_t)(done + count) * size);
    return true;
}

/* Part of such a block may have been outside of the page. */
static bool pool_take_pages(struct pool *pool, uint64_t *bin)
{
    if (likely(pool->purged == 0) || !pool_take_back(pool, bin))
        return false;
    pool->list_is_zero = false;
    return true;
}

static bool pool_carve_afresh(struct pool *pool, uint64_t *bin)
{
    bool carved = pool_carve(pool, bin, list_end(pool, alloc_root_data.secret));
    pool->list_is_zero = carved && pool->fresh;
    return carved;
}

/* Only every sixteenth time: what is carved is resident for as long as the pool lives. */
void pool_lengthen(struct pool *pool, uint64_t *bin, uint32_t length)
{
    if (++pool->shorts == 0 && (size_t)length * pool->block_size < SHORT_BYTES)
        (void)pool_carve(pool, bin, *bin);
}

bool pool_replenish(struct pool *pool, uint64_t *bin)
{
    if (list_first(pool->free_list, alloc_root_data.secret) == NULL)
        return remote_collect(pool, bin) || pool_take_pages(pool, bin) || pool_carve_afresh(pool, bin);
    pool_move_list(pool, bin);
    return true;
}

void pool_retake(struct pool *pool, uint64_t *bin)
{
    uint64_t secret = alloc_root_data.secret;
    struct free_block *block;
    for (uint32_t steps = 0; (block = list_first(*bin, secret)) != NULL; steps++) {
        uint64_t rest = load_relaxed(&block->link);
        if ((*bin ^ rest) >> CHUNK_SHIFT != 0 || steps == pool->capacity) {
            store_relaxed(bin, list_end(pool, secret));
            state_report_corruption(block);
            return;
        }
        uint64_t list = *bin;
        store_relaxed(bin, rest);
        (void)pool_push(pool, block, list);
    }
}

/* --- is it a block, is it free -------------------------------------------------------------------------- */

/* Is p on this list? Each step is checked to stay in the pool, and their number is bounded, so a list that its
 * owner changes meanwhile, or that was overwritten, ends the search and misleads nobody: hence the
 * race that is not to be told. */
__attribute__((no_sanitize("thread"))) static bool list_holds(const struct pool *pool, uint64_t list,
                                                              uintptr_t p)
{
    uint64_t secret = alloc_root_data.secret;
    uint32_t size = (uint32_t)pool->capacity * pool->block_size;
    for (uint32_t steps = 0; steps <= pool->capacity; steps++) {
        const struct free_block *block = list_first(list, secret);
        if (block == NULL || (uintptr_t)block == p)
            return block != NULL;
        if ((uintptr_t)block - pool->start >= size || ((uintptr_t)block & 15) != 0)
            return false;
        list = load_relaxed(&block->link);
    }
    return false;
}

/* The owner may change meanwhile; heaps are never unmapped. */
static uint64_t pool_bin(const struct pool *pool)
{
    const struct heap *heap = (const struct heap *)(load_relaxed(&pool->owner) & ~POOL_UNLISTED);
    return heap == NULL ? 0 : load_relaxed(&heap->bin[pool->size_class]);
}

/* Two rounds: a block that its owner moves from one list to another while we look is found in the second. */
static bool pool_has_free(const struct pool *pool, uintptr_t p)
{
    for (int round = 0; round < 2; round++) {
        if (list_holds(pool, load_relaxed(&pool->free_list), p))
            return true;
        if (list_holds(pool, remote_list(pool, load_acquire(&pool->remote), alloc_root_data.secret), p))
            return true;
        if (list_holds(pool, pool_bin(pool), p) ||
            (pool->torn_list != 0 && list_holds(pool, pool->torn_list, p)))
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
    if (offset >= load_relaxed(&pool->carved) || pool_block_is_purged(pool, *ret_index))
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

static void marks_add_list(struct marks *marks, const struct pool *pool, uint64_t list)
{
    uint64_t secret = alloc_root_data.secret;
    for (uint32_t steps = 0; steps <= pool->capacity; steps++) {
        const struct free_block *block = list_first(list, secret);
        uint32_t offset = pool_offset(pool, (uintptr_t)block), index = pool_index(pool, offset);
        if (block == NULL || index >= pool->capacity || index * pool->block_size != offset ||
            pool_block_is_purged(pool, index) || !free_block_seems(block, secret))
            return;
        uint64_t bit = (uint64_t)1 << index % 64;
        marks->count += (marks->word[index / 64] & bit) == 0;
        marks->word[index / 64] |= bit;
        marks->end = index >= marks->end ? index + 1 : marks->end;
        list = load_relaxed(&block->link);
    }
}

/* A list in ascending order of all marked blocks. */
static uint64_t marks_to_list(const struct marks *marks, const struct pool *pool)
{
    uint64_t secret = alloc_root_data.secret, list = list_end(pool, secret);
    for (uint32_t i = marks->end; i-- > 0;) {
        if ((marks->word[i / 64] >> i % 64 & 1) == 0)
            continue;
        struct free_block *block = pool_block(pool, i);
        free_block_write(block, list, secret);
        list = list_from(block, secret);
    }
    return list;
}

void pool_mend(struct pool *pool)
{
    struct marks marks = {.count = 0};
    /* First the remote list leaves the word, so that nothing comes onto it that we have not seen. */
    uint64_t remote = remote_take(pool);
    marks_add_list(&marks, pool, remote_list(pool, remote, alloc_root_data.secret));
    marks_add_list(&marks, pool, load_relaxed(&pool->free_list));
    if (pool->torn_list != 0)
        marks_add_list(&marks, pool, pool->torn_list);
    uint32_t carved = pool_index(pool, (uint32_t)pool->carved);
    if (carved < marks.end)
        carved = marks.end;
    store_relaxed(&pool->free_list, marks_to_list(&marks, pool));
    store_relaxed(&pool->carved, (uint64_t)carved * pool->block_size);
    store_relaxed(&pool->used, carved - marks.count - pool_purged_blocks(pool));
    pool->torn_list = 0;
    pool->blocks = (uint16_t)(carved - pool_purged_blocks(pool));
    pool->list_is_zero = pool->torn = pool->full = pool->spare = pool->passed = false;
    pool->shorts = 0;
}
