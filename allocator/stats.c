/* SPDX-License-Identifier: MIT */
/*
 * stats.c - figures, recounted from the ground: every chunk, every slot, every granule of the address map.
 *
 * Equation:  mapped = live_capacity + free_in_pools + cached + purged + heads
 *   heads           two slots per chunk; with regions of metadata memory they make `metadata`
 *   live_capacity   blocks that are out (a pool's used less its remote list and bin), whole spans, whole live
 * mappings free_in_pools   the rest of pools that have a block out cached          pools that have none, and
 * free slots not yet returned purged          free slots that were returned or never touched, and mappings
 * the kernel would not take back
 *
 * Free lists are not walked: other threads change them. Their lengths are in the pools' counts. The bins have no
 * counts, and are.
 */
#include <string.h>

#include "allocator/address_map.h"
#include "allocator/chunk.h"
#include "allocator/emergency.h"
#include "allocator/metadata.h"
#include "allocator/pool.h"
#include "allocator/slotmap.h"
#include "allocator/span.h"
#include "allocator/state.h"

/* How much of a pool is on its owner's bin. Its owner may take from it meanwhile, and the program write to what it took:
 * whatever is read, every step stays in the pool, and their number is bounded. Hence the race that is not to be told. */
__attribute__((no_sanitize("thread"))) static uint32_t count_bin(const struct pool *pool)
{
    const struct heap *heap = (const struct heap *)(load_relaxed(&pool->owner) & ~POOL_UNLISTED);
    uint64_t secret = alloc_root_data.secret;
    uint32_t bytes = (uint32_t)pool->capacity * pool->block_size, count = 0;
    if (heap == NULL)
        return 0;
    uint64_t list = load_relaxed(&heap->bin[pool->size_class]);
    for (; count < pool->capacity; count++) {
        const struct free_block *block = list_first(list, secret);
        if (block == NULL || (uintptr_t)block - pool->start >= bytes)
            break;
        list = load_relaxed(&block->link);
    }
    return count;
}

static void count_pool(const struct pool *pool, struct alloc_stats *stats)
{
    uint64_t purged = (uint64_t)__builtin_popcount(load_relaxed(&pool->purged)) << POOL_PAGE_SHIFT;
    uint64_t bytes = ((uint64_t)pool->slots << SLOT_SHIFT) - purged;
    uint32_t used = pool_used(pool), freed = REMOTE_COUNT(load_relaxed(&pool->remote)) + count_bin(pool);
    /* Read at several moments: the owner may have moved a list in between. */
    uint64_t live = used > freed ? used - freed : 0;
    stats->pools++;
    stats->purged += purged;
    stats->live_blocks += live;
    stats->live_capacity += live * pool->block_size;
    if (live != 0)
        stats->free_in_pools += bytes - live * pool->block_size;
    else
        stats->cached += bytes;
}

static void count_slot(const struct chunk *chunk, unsigned slot, struct alloc_stats *stats)
{
    const struct pool *pool = &chunk->pools[slot];
    const struct chunk_header *header = &chunk->header;
    switch (load_acquire(&pool->state)) {
    case SLOT_POOL:
        count_pool(pool, stats);
        break;
    case SLOT_SPAN:
        stats->spans++;
        stats->live_blocks++;
        stats->live_capacity += span_capacity(pool);
        break;
    case SLOT_CACHED:
        stats->cached += span_capacity(pool);
        break;
    case SLOT_FREE:
        if (slot_bit(header->dirty_map, slot) || slot_bit(header->aged_map, slot))
            stats->cached += SLOT_SIZE;
        else
            stats->purged += SLOT_SIZE;
        break;
    default:
        break;
    }
}

static unsigned arenas_in_use(const struct chunk *chunk)
{
    unsigned count = 0;
    for (unsigned arena = 0; arena < chunk_slots(chunk) / ARENA_SLOTS; arena++) {
        unsigned usable = arena == 0 ? ARENA_SLOTS - HEAD_SLOTS : ARENA_SLOTS;
        count += slotmap_count(chunk->header.free_map, arena * ARENA_SLOTS, ARENA_SLOTS) != usable;
    }
    return count;
}

static void count_chunk(const struct chunk *chunk, struct alloc_stats *stats)
{
    stats->chunks++;
    stats->mapped += (uint64_t)chunk_slots(chunk) << SLOT_SHIFT;
    stats->metadata += HEAD_SLOTS << SLOT_SHIFT;
    stats->arenas_in_use += arenas_in_use(chunk);
    for (unsigned slot = HEAD_SLOTS; slot < chunk_slots(chunk); slot++)
        count_slot(chunk, slot, stats);
}

static void count_mapping(const struct mapping *mapping, struct alloc_stats *stats)
{
    stats->mapped += mapping->length;
    if (mapping->state != MAPPING_LIVE) {
        uint64_t dirty = mapping->dirty < mapping->length ? mapping->dirty : mapping->length;
        stats->cached += dirty;
        stats->purged += mapping->length - dirty;
        return;
    }
    stats->mappings++;
    stats->live_blocks++;
    stats->live_capacity += mapping->length;
    stats->mapping_bytes += mapping->length;
}

/* A mapping is counted at its first granule; the others lead to it too. */
static void count_granule(uintptr_t granule, uintptr_t entry, struct alloc_stats *stats)
{
    const struct mapping *mapping = (const struct mapping *)(entry & ~MAP_MAPPING);
    if (entry == 0)
        return;
    if ((entry & MAP_EMERGENCY) != 0)
        return; /* outside all totals: those are kept under a lock that the emergency path has not */
    if ((entry & MAP_MAPPING) == 0)
        count_chunk((const struct chunk *)entry, stats);
    else if (mapping->start >> CHUNK_SHIFT == granule)
        count_mapping(mapping, stats);
}

static void count_map(struct alloc_stats *stats)
{
    for (uintptr_t root = 0; root < 1u << MAP_ROOT_BITS; root++) {
        const struct map_leaf *leaf = load_acquire(&alloc_map[root]);
        if (leaf == NULL)
            continue;
        for (uintptr_t i = 0; i < 1u << MAP_LEAF_BITS; i++)
            count_granule(root << MAP_LEAF_BITS | i, leaf->entry[i], stats);
    }
}

void alloc_stats_read(struct alloc_stats *ret)
{
    struct alloc_stats stats;
    memset(&stats, 0, sizeof stats);
    state_lock(LOCK_ARENA);
    count_map(&stats);
    for (const struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all)
        stats.heaps += heap->attached != 0;
    stats.mapped_peak = alloc_root_data.mapped_peak;
    state_unlock(LOCK_ARENA);
    stats.metadata += metadata_bytes();
    *ret = stats;
}
