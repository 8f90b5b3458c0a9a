/* SPDX-License-Identifier: MIT */
/*
 * finder.h - is this word a pointer, and into which block? Asked for every word of a process.
 *
 *   value --> top[value >> 35] --> leaf[value >> 22] --> granule: slots[value >> 14] --> run --> places[n] --> block
 *              4096 places          8192, 4 MiB each       256, 16 KiB each              |
 *                                       \--> a run that fills the granule (a huge block)-'
 *
 * A run is a stretch of blocks of one capacity, evenly spaced as a pool has them: one multiplication gives the place,
 * one load there the block, and no block's record is touched for a pointer to its start. What does not fit (blocks of
 * different runs in one slot, which our allocator never makes but a damaged target may) is found by bisection.
 *
 * Built once over a sorted array, then constant.
 */
#ifndef HEAPTALLY_FINDER_H
#define HEAPTALLY_FINDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/image/image.h"

#define FINDER_NONE         UINT32_MAX
#define FINDER_SLOT_BITS    14
#define FINDER_GRANULE_BITS 22
#define FINDER_LEAF_BITS    13
#define FINDER_TOP_BITS     12
#define FINDER_SLOTS        (1u << (FINDER_GRANULE_BITS - FINDER_SLOT_BITS))
#define FINDER_WHOLE        0x80000000u /* in a leaf: the rest is a run, not a granule */
#define FINDER_MIXED        UINT32_MAX  /* in a slot: bisect */

struct finder_run {
    uint64_t base, reach; /* [base, base + reach) */
    uint64_t divisor;     /* ceil(2^64 / stride); 0: one block, whose number is `first` */
    uint32_t stride;
    uint32_t first; /* of its places */
};

struct finder_granule {
    uint32_t slots[FINDER_SLOTS]; /* run + 1; 0: nothing; FINDER_MIXED */
};

struct finder {
    const struct image_block *blocks;
    uint32_t count;
    uint64_t low, span; /* all blocks lie in [low, low + span) */
    struct finder_run *runs;
    struct finder_granule *granules;
    uint32_t *places; /* block + 1; 0: nothing lives there */
    uint32_t run_count, run_capacity, granule_count, granule_capacity;
    size_t place_count, place_capacity;
    uint32_t *top[1u << FINDER_TOP_BITS]; /* leaves: granule + 1, FINDER_WHOLE | run, or 0 */
};

/* blocks: ascending by addr; pools[i]: the first byte of the pool or span that holds block i. Blocks past 2^47 are
 * never found. false: memory is out. */
bool finder_build(struct finder *finder, const struct image_block *blocks, const uint64_t *pools,
                  uint32_t count);
void finder_free(struct finder *finder);

uint32_t finder_bisect(const struct finder *finder, uint64_t value, uint64_t *ret_offset);

/* The block with addr <= value < addr + capacity. */
static inline uint32_t finder_find(const struct finder *finder, uint64_t value, uint64_t *ret_offset)
{
    if (value - finder->low >= finder->span)
        return FINDER_NONE;
    const uint32_t *leaf =
        finder->top[value >> (FINDER_GRANULE_BITS + FINDER_LEAF_BITS) & ((1u << FINDER_TOP_BITS) - 1)];
    uint32_t entry = leaf ? leaf[value >> FINDER_GRANULE_BITS & ((1u << FINDER_LEAF_BITS) - 1)] : 0;
    if (entry == 0)
        return FINDER_NONE;
    uint32_t run_number = entry & ~FINDER_WHOLE;
    if (!(entry & FINDER_WHOLE)) {
        uint32_t slot = finder->granules[entry - 1].slots[value >> FINDER_SLOT_BITS & (FINDER_SLOTS - 1)];
        if (slot == 0)
            return FINDER_NONE;
        if (slot == FINDER_MIXED)
            return finder_bisect(finder, value, ret_offset);
        run_number = slot - 1;
    }
    const struct finder_run *run = &finder->runs[run_number];
    uint64_t offset = value - run->base;
    if (offset >= run->reach)
        return FINDER_NONE;
    if (run->divisor == 0) {
        *ret_offset = offset;
        return run->first;
    }
    uint32_t place = (uint32_t)((unsigned __int128)offset * run->divisor >> 64);
    *ret_offset = offset - (uint64_t)place * run->stride;
    return finder->places[run->first + place] - 1; /* nothing there: 0 - 1 is FINDER_NONE */
}

#endif
