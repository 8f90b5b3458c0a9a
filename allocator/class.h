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
 * finds one that is resident. From 8 slots for 576 to 1,024 bytes and 3 to 8 above, the benchmark's peaks fell, as ratios
 * to glibc's: rising 2.92 to 2.67, falling 2.65 to 2.44, realloc-small 2.54 to 2.17. With 2 slots for 576 to 1,024 too they are 2.36,
 * 2.30, 1.80, but a free of 1,024 bytes in batches takes 28 instructions.
 */
#ifndef HEAPTALLY_CLASS_H
#define HEAPTALLY_CLASS_H

#include <stddef.h>
#include <stdint.h>

#include "allocator/layout.h"

struct size_class {
    uint64_t divisor; /* see pool.divisor */
    uint32_t size;
    uint16_t capacity;
    uint8_t slots;
};

#define STEP_16_MAX    1024u
#define STEP_16_COUNT  (STEP_16_MAX / 16 + 1)
#define STEP_128_COUNT (POOL_SIZE_MAX / 128 + 1)

extern LAYOUT_HIDDEN const struct size_class alloc_class[CLASS_COUNT];
extern LAYOUT_HIDDEN const uint8_t alloc_class_of_16[STEP_16_COUNT]; /* by (size + 15) / 16 */
extern LAYOUT_HIDDEN const uint8_t
    alloc_class_of_128[STEP_128_COUNT]; /* by (size + 127) / 128, past STEP_16_MAX */

/* size <= POOL_SIZE_MAX; 0 counts as 1. */
static inline unsigned class_of(size_t size)
{
    if (size <= STEP_16_MAX)
        return alloc_class_of_16[(size + 15) >> 4];
    return alloc_class_of_128[(size + 127) >> 7];
}

#endif
