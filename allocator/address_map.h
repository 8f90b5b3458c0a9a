/* SPDX-License-Identifier: MIT */
/*
 * address_map.h - who owns an address: two dependent loads, no lock, nothing of a stranger's dereferenced.
 *
 *   address, 47 bits:  | 12: root index | 13: leaf index | 22: within the 4 MiB granule |
 *
 * The root is in bss, leaves are metadata memory and are never taken away. A granule belongs to one chunk or
 * to one mapping (of which it may be the last, partly used granule), because both start on a 4 MiB boundary.
 *
 * Threads: written under the arena lock with release, read by anybody with acquire: who sees an entry sees
 * the chunk head or mapping descriptor behind it as it was at that time. An entry that goes away while
 * somebody looks at it is a wrong free racing with a right one; only that loses.
 */
#ifndef HEAPTALLY_ADDRESS_MAP_H
#define HEAPTALLY_ADDRESS_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "allocator/atomics.h"
#include "allocator/layout.h"

extern LAYOUT_HIDDEN struct map_leaf *alloc_map[1u << MAP_ROOT_BITS];

#define MAP_GRANULES ((uintptr_t)1 << (MAP_LEAF_BITS + MAP_ROOT_BITS))

/* false: p is in no granule of ours, nor is anything of ours in the first one, which NULL is in. *ret_entry may be 0 all
 * the same, at least 4 MiB away from p. */
static inline bool map_look(uintptr_t p, uintptr_t *ret_entry)
{
    uintptr_t granule = p >> CHUNK_SHIFT;
    if (unlikely(granule - 1 >= MAP_GRANULES - 1))
        return false;
    struct map_leaf *leaf = load_acquire(&alloc_map[granule >> MAP_LEAF_BITS]);
    if (unlikely(leaf == NULL))
        return false;
    *ret_entry = load_acquire(&leaf->entry[granule & ((1u << MAP_LEAF_BITS) - 1)]);
    return true;
}

/* The entry of the granule around p, or 0. */
static inline uintptr_t map_entry(uintptr_t p)
{
    uintptr_t entry;
    return map_look(p, &entry) ? entry : 0;
}

static inline uintptr_t chunk_base(uintptr_t p)
{
    return p & ~(uintptr_t)(CHUNK_SIZE - 1);
}

/* The descriptor of the slot p lies in; p is in a chunk of ours. */
static inline struct pool *chunk_descriptor(uintptr_t p)
{
    return &((struct chunk *)chunk_base(p))->pools[p >> SLOT_SHIFT & (CHUNK_SLOTS - 1)];
}

/* Arena lock held. Let the granules of [start, start + length) say `entry`. false: no memory for a leaf, and
 * nothing was changed. */
bool map_set(uintptr_t start, uint64_t length, uintptr_t entry);
/* The same without the lock, for one region of the emergency path; every granule must be free. */
bool map_set_lockless(uintptr_t start, uint64_t length, uintptr_t entry);
/* Clears what still says `entry`: once the kernel has the pages back, another thread may already have got
 * them. */
void map_clear(uintptr_t start, uint64_t length, uintptr_t entry);

#endif
