/* SPDX-License-Identifier: MIT */
/*
 * mapping.h - blocks too large for a span: whole pages on a 4 MiB boundary, so that the address map knows them; freed
 * ones rest in the process's cache.
 *
 *   |<- granule ->|<- granule ->|<- granule ->|
 *   | mapping ....................... |  tail: not ours, left to others
 *
 * What costs with large blocks is that the kernel clears every page at its first touch. So a request takes what is
 * cached even when its length is another: the shortest that is long enough, whose end becomes a cached mapping of its
 * own (whole granules) or is unmapped; else the longest there is, which grows where it is or by having its pages moved.
 *
 * MAPPING_UNUSED  descriptor on the unused list, or in the hands of one thread
 * MAPPING_LIVE    a block; the map leads to it from every granule
 * MAPPING_CACHED  freed, the map still leads to it: on the cached list, or in the hands of a thread that is about to
 *                 use it again. Unmapped after one to two decay times; kept when the kernel will not unmap it (too
 *                 many areas).
 *
 * Invariant: cached_mapping_bytes == sum of the lengths on the cached list, at most MAPPING_CACHE_BYTES but for what
 * the kernel would not unmap.
 *
 * Threads: descriptors change under the arena lock; the kernel is called without it. The fields of a live one
 * are constant, but for realloc, which its caller must not let race with anything else on the block.
 */
#ifndef HEAPTALLY_MAPPING_H
#define HEAPTALLY_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

#include "allocator/address_map.h"
#include "allocator/allocator.h"
#include "allocator/layout.h"

/* glibc holds as much at its heap's end once a program has freed a block of 32 MiB. */
#define MAPPING_CACHE_BYTES ((uint64_t)64 << 20)

/* Zeroed but for the first *ret_dirty bytes. */
void *mapping_alloc(size_t size, size_t alignment, size_t *ret_dirty);
enum alloc_status mapping_free(struct mapping *mapping, void *p);
/* The block's new address, or NULL: it is as it was. */
void *mapping_resize(struct mapping *mapping, size_t size);

/* --- mapping_resize.c ----------------------------------------------------------------------------------- */

/* To `length` bytes of whole pages, in place or elsewhere; false leaves it as it was. */
bool mapping_stretch(struct mapping *mapping, size_t length);
bool mapping_move(struct mapping *mapping, size_t length);

/* --- mapping_cache.c, arena lock held ------------------------------------------------------------------- */

/* The one to use for `length` bytes, off the list and still MAPPING_CACHED, no more than a granule's rest too long;
 * or NULL. */
struct mapping *mapping_cache_take(size_t length);
void mapping_cache_put(struct mapping *mapping, size_t dirty);
/* Chain, by next, of what exceeds the cache's bound, in nobody's reach any more: for mappings_unmap(). */
struct mapping *mapping_cache_evict(void);
/* Unmap what has been cached for a whole tick, or all; true when something was. LOCK_PURGE is held too; lets go of the
 * arena lock for a while. */
bool mappings_purge(bool all);
/* No lock held: unmap a chain; what the kernel keeps is cached again. true when one was unmapped. */
bool mappings_unmap(struct mapping *chain);

/* No lock held: pages of ours without a descriptor, which the kernel would not take back, are cached. */
void mapping_adopt(void *start, size_t length);

/* --- descriptors, arena lock held ----------------------------------------------------------------------- */

struct mapping *mapping_descriptor_take(void);
void mapping_descriptor_give(struct mapping *mapping);

/* What the address map says where this mapping is. */
static inline uintptr_t mapping_word(const struct mapping *mapping)
{
    return (uintptr_t)mapping | MAP_MAPPING;
}

static inline uintptr_t mapping_granules_end(uintptr_t start, size_t length)
{
    return (start + length + CHUNK_SIZE - 1) & ~(uintptr_t)(CHUNK_SIZE - 1);
}

#endif
