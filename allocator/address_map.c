/* SPDX-License-Identifier: MIT */
/* address_map.c - see address_map.h. */
#include "allocator/address_map.h"

#include "allocator/platform.h"

struct map_leaf *alloc_map[1u << MAP_ROOT_BITS];

/* Another thread may have put the leaf there, on the emergency path without the lock. */
static uintptr_t *map_place(uintptr_t granule)
{
    struct map_leaf *leaf = load_acquire(&alloc_map[granule >> MAP_LEAF_BITS]);
    return &leaf->entry[granule & ((1u << MAP_LEAF_BITS) - 1)];
}

/* All leaves first, so that a failure leaves the map as it was. */
static bool map_grow(uintptr_t first, uintptr_t last)
{
    if (first == 0 || last >= MAP_GRANULES)
        return false;
    for (uintptr_t root = first >> MAP_LEAF_BITS; root <= last >> MAP_LEAF_BITS; root++) {
        if (load_acquire(&alloc_map[root]) != NULL)
            continue;
        struct map_leaf *leaf = platform_map_metadata(sizeof *leaf);
        if (leaf == NULL)
            return false;
        /* The emergency path puts up leaves without the lock (emergency.h); if it was first, ours is lost. */
        struct map_leaf *none = NULL;
        (void)cas_acq_rel(&alloc_map[root], &none, leaf);
    }
    return true;
}

static void map_fill(uintptr_t first, uintptr_t last, uintptr_t entry)
{
    for (uintptr_t granule = first; granule <= last; granule++)
        store_release(map_place(granule), entry);
}

bool map_set(uintptr_t start, uint64_t length, uintptr_t entry)
{
    uintptr_t first = start >> CHUNK_SHIFT, last = (start + length - 1) >> CHUNK_SHIFT;
    if (!map_grow(first, last))
        return false;
    map_fill(first, last, entry);
    return true;
}

/* Leaves that are made here are no metadata memory: registering it takes a lock. */
static bool map_grow_lockless(uintptr_t first, uintptr_t last)
{
    if (first == 0 || last >= MAP_GRANULES)
        return false;
    for (uintptr_t root = first >> MAP_LEAF_BITS; root <= last >> MAP_LEAF_BITS; root++) {
        if (load_acquire(&alloc_map[root]) != NULL)
            continue;
        struct map_leaf *none = NULL, *leaf = platform_map(sizeof *leaf, PLATFORM_PAGE);
        if (leaf == NULL)
            return false;
        if (!cas_acq_rel(&alloc_map[root], &none, leaf))
            (void)platform_unmap(leaf, sizeof *leaf);
    }
    return true;
}

bool map_set_lockless(uintptr_t start, uint64_t length, uintptr_t entry)
{
    uintptr_t first = start >> CHUNK_SHIFT, last = (start + length - 1) >> CHUNK_SHIFT;
    if (!map_grow_lockless(first, last))
        return false;
    map_fill(first, last, entry);
    return true;
}

void map_clear(uintptr_t start, uint64_t length, uintptr_t entry)
{
    uintptr_t last = (start + length - 1) >> CHUNK_SHIFT;
    for (uintptr_t granule = start >> CHUNK_SHIFT; granule <= last; granule++) {
        uintptr_t *place = map_place(granule);
        if (load_relaxed(place) == entry)
            store_release(place, 0);
    }
}
