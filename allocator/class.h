/* SPDX-License-Identifier: MIT */
/*
 * class.h - the size classes of pools.
 *
 *   16 32 48 .. 128 | 144 160 .. 256 | 288 320 .. 512 | ... | 18432 .. 32768
 *     steps of 16        eight per doubling: at most 12.5 % of a block past 128 bytes is slack
 *
 * Every size is a multiple of 16 and so is every block's address. Up to 256 bytes a pool is one slot. Each pool costs a
 * slow path when it runs out, and 26 instructions a free and 20 a malloc, with that in it, are the limit up to 1 KiB: so
 * 64 blocks or more there. From there to 8 KiB, the fewest slots that hold 8 blocks and leave at most 1/16 of the pool
 * behind the last; past it at most 8 slots, with 3 blocks at least. What that costs in slow paths showed in no workload's
 * time. Long pools are dear: what one leaves is a run of slots, and the shorter the runs, the more often the next class
 * finds one that is resident. So these are lengths in fresh memory; where something resident is free, a pool is as long as
 * that (heap.c, take_slots()). What both did to the benchmark's peaks, as ratios to glibc's: from 8 slots for 576 to 1,024
 * bytes to 4, rising 2.92 to 2.67, falling 2.65 to 2.44, realloc-small 2.54 to 2.17; what is resident first, 2.19, 2.03,
 * 1.68, and drift 1.93 to 1.58.
 */
#ifndef HEAPTALLY_CLASS_H
#define HEAPTALLY_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/layout.h"

struct size_class {
    uint64_t divisor; /* see pool.divisor */
    uint32_t size;
    uint8_t slots; /* of a pool; where there is a shorter run that is resident, fewer */
};

#define STEP_16_MAX    1024u
#define STEP_16_COUNT  (STEP_16_MAX / 16 + 1)
#define STEP_128_COUNT (POOL_SIZE_MAX / 128 + 1)

extern LAYOUT_HIDDEN const struct size_class alloc_class[CLASS_COUNT];
extern LAYOUT_HIDDEN const uint8_t alloc_class_of_16[STEP_16_COUNT]; /* by (size + 15) / 16 */
extern LAYOUT_HIDDEN const uint8_t
    alloc_class_of_128[STEP_128_COUNT]; /* by (size + 127) / 128, past STEP_16_MAX */

/* Two blocks at least, and at most 1/8 left behind the last. */
static inline bool class_slots_serve(unsigned class, unsigned slots)
{
    uint32_t bytes = slots << SLOT_SHIFT, size = alloc_class[class].size;
    return bytes >= 2 * size && bytes % size * 8 <= bytes;
}

static inline unsigned class_slots_least(unsigned class)
{
    unsigned slots = 1;
    while (!class_slots_serve(class, slots))
        slots++;
    return slots;
}

/* size <= POOL_SIZE_MAX; 0 counts as 1. */
static inline unsigned class_of(size_t size)
{
    if (size <= STEP_16_MAX)
        return alloc_class_of_16[(size + 15) >> 4];
    return alloc_class_of_128[(size + 127) >> 7];
}

#endif
