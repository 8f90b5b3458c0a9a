/* SPDX-License-Identifier: MIT */
/*
 * fork.c - the allocator on both sides of fork().
 *
 * Before: every lock is taken, in the order of enum lock_rank, so that what they guard is whole in the child.
 * Child: the other threads are gone, perhaps between two stores. What only they wrote (their heaps' rings,
 * their pools' lists and counts) cannot be trusted; what descriptors say under the arena lock can. So the
 * rings are dropped, every pool that belonged to a vanished thread goes to the orphanage marked `torn`, and
 * whoever adopts it recounts it from its lists. That a child touches descriptors only, and no block, keeps
 * fork cheap.
 */
#include "allocator/address_map.h"
#include "allocator/chunk.h"
#include "allocator/heap.h"
#include "allocator/pool.h"
#include "allocator/pool_ring.h"
#include "allocator/remote.h"
#include "allocator/span.h"
#include "allocator/state.h"

void alloc_fork_prepare(void)
{
    state_start();
    for (int rank = 0; rank < LOCK_COUNT; rank++)
        state_lock(rank);
}

void alloc_fork_parent(void)
{
    for (int rank = LOCK_COUNT; rank-- > 0;)
        state_unlock(rank);
}

/* --- child ---------------------------------------------------------------------------------------------- */

static bool heap_survives(const struct heap *heap)
{
    return heap == alloc_own_heap || heap == &alloc_state.shared;
}

/* The pusher that was to bring it is gone, or the stack it is on was cleared. */
static void survivor_settle(struct heap *heap, struct pool *pool)
{
    if (remote_change(pool, REMOTE_QUEUED, REMOTE_QUIET))
        heap_relist(heap, pool);
}

static void orphan_settle(struct pool *pool)
{
    pool->torn = true;
    pool->next = pool->prev = NULL;
    if (!remote_change(pool, REMOTE_QUEUED, REMOTE_QUIET))
        (void)remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET);
    orphanage_take(pool);
}

static void pool_settle(struct pool *pool)
{
    struct heap *heap = (struct heap *)(pool->owner & ~POOL_UNLISTED);
    if (heap_survives(heap))
        survivor_settle(heap, pool);
    else
        orphan_settle(pool);
}

static void chunk_settle(struct chunk *chunk)
{
    for (unsigned slot = HEAD_SLOTS; slot < CHUNK_SLOTS; slot++)
        if (chunk->pools[slot].state == SLOT_POOL)
            pool_settle(&chunk->pools[slot]);
}

/* What a vanished thread had on its bins stays known to the pools. Each bin is one word, whole at any moment. */
void heap_save_bins(const struct heap *heap)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct free_block *block = list_first(heap->bin[class], alloc_root_data.secret);
        if (block == NULL)
            continue;
        struct pool *pool = chunk_descriptor((uintptr_t)block);
        pool -= pool->distance;
        pool->torn_list = heap->bin[class];
    }
}

static void heaps_settle(void)
{
    alloc_state.idle_heaps = NULL;
    alloc_state.stragglers = alloc_state.idle_pages = 0;
    heap_reset(&alloc_state.orphanage);
    store_relaxed(&alloc_state.shared.pending, NULL);
    for (struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all) {
        if (heap_survives(heap)) {
            store_relaxed(&heap->pending, NULL);
            continue;
        }
        heap_save_bins(heap);
        heap_reset(heap);
        heap_make_idle(heap);
    }
}

void alloc_fork_child(void)
{
    for (int rank = 0; rank < LOCK_COUNT; rank++)
        platform_lock_reset(&alloc_state.lock[rank]);
    state_lock(LOCK_ARENA);
    heaps_settle();
    span_caches_settle();
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++)
        chunk_settle(alloc_state.chunks[i]);
    state_unlock(LOCK_ARENA);
}
