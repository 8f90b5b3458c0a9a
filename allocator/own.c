/* SPDX-License-Identifier: MIT */
/* own.c - see own.h. */
#include "allocator/own.h"

#include "allocator/chunk.h"
#include "allocator/metadata.h"
#include "allocator/pool_ring.h"
#include "allocator/state.h"

#define OWN_FIRST 128u                /* entries: 2 MiB of address space */
#define OWN_MAX   ((uint64_t)1 << 18) /* entries: 4 GiB of address space */
#define OWN_RATIO 16u                 /* entries per slot that a table may grow to */

struct pool *const alloc_own_nothing[1] = {EMPTY_POOL};

static struct pool **own_place(struct pool **table, uint64_t mask, const struct pool *pool, unsigned slot)
{
    return &table[((pool->start >> SLOT_SHIFT) + slot) & mask];
}

/* false: some slot of it found its place taken. */
static bool table_add(struct pool **table, uint64_t mask, struct pool *pool)
{
    bool all = true;
    /* What is free there cannot be told by its mark. */
    if (pool->purged != 0)
        return true;
    for (unsigned slot = 0; slot < pool->slots; slot++) {
        struct pool **place = own_place(table, mask, pool, slot);
        if (*place == EMPTY_POOL)
            *place = pool;
        all &= *place == pool;
    }
    return all;
}

static bool table_add_ring(struct pool **table, uint64_t mask, struct pool *first, const struct pool *none)
{
    bool all = true;
    if (first == none)
        return true;
    struct pool *pool = first;
    do {
        all &= table_add(table, mask, pool);
        pool = pool->next;
    } while (pool != first);
    return all;
}

static bool table_fill(struct pool **table, uint64_t mask, const struct heap *heap)
{
    for (uint64_t i = 0; i <= mask; i++)
        table[i] = EMPTY_POOL;
    bool all = table_add_ring(table, mask, heap->full, NULL);
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        all &= table_add_ring(table, mask, heap->current[class], EMPTY_POOL);
    return all;
}

static size_t table_size(uint64_t mask)
{
    return (mask + 1) * sizeof(struct pool *);
}

/* One step. The fast free of this thread never runs while its slow path does, so pointer and mask may change one
 * after the other. In a signal handler that is not known to have interrupted it (nested.h) it may: hence the smaller
 * mask is in force first. */
static bool own_grow(struct heap *heap, bool *ret_all)
{
    uint64_t mask = heap->own == OWN_NOTHING ? OWN_FIRST - 1 : heap->own_mask * 2 + 1;
    if (mask >= OWN_MAX || (mask >= OWN_FIRST && mask > (uint64_t)heap->slots * OWN_RATIO))
        return false;
    struct pool **table = metadata_take(table_size(mask)), **old = heap->own;
    if (table == NULL)
        return false;
    *ret_all = table_fill(table, mask, heap);
    uint64_t old_mask = heap->own_mask;
    store_release(&heap->own, table);
    store_release(&heap->own_mask, mask);
    if (old != OWN_NOTHING)
        metadata_give(old, table_size(old_mask));
    return true;
}

void own_add(struct heap *heap, struct pool *pool)
{
    /* Nobody frees fast into its pools. */
    if (heap == &alloc_state.shared)
        return;
    bool all = heap->own != OWN_NOTHING && table_add(heap->own, heap->own_mask, pool);
    while (!all && own_grow(heap, &all))
        ;
}

void own_remove(struct heap *heap, const struct pool *pool)
{
    for (unsigned slot = 0; slot < pool->slots; slot++) {
        struct pool **place = own_place(heap->own, heap->own_mask, pool, slot);
        if (*place == pool)
            *place = EMPTY_POOL;
    }
}

void own_reset(struct heap *heap)
{
    uint64_t mask = heap->own_mask;
    struct pool **table = heap->own;
    if (table == OWN_NOTHING)
        return;
    if (mask == OWN_FIRST - 1) {
        for (uint64_t i = 0; i <= mask; i++)
            table[i] = EMPTY_POOL;
        return;
    }
    store_release(&heap->own_mask, 0);
    store_release(&heap->own, OWN_NOTHING);
    metadata_give(table, table_size(mask));
}

bool own_has(const struct heap *heap, const struct pool *pool)
{
    return *own_place(heap->own, heap->own_mask, pool, 0) == pool;
}
