/* SPDX-License-Identifier: MIT */
/*
 * emergency.h - blocks for a signal handler whose own thread holds a lock of the allocator.
 *
 *   region, 4 MiB-aligned            bump -->
 *   +--------+--------+-----------+--------+-------+------------------------------+
 *   | header | size   | block     | size   | block |  never handed out            |
 *   |        | check  |           | check  |       |                              |
 *   +--------+--------+-----------+--------+-------+------------------------------+
 *
 * No lock anywhere: a region's bump and the number of its live blocks are one word, changed by compare and
 * swap. Freeing a block only counts it off; the free that brings the count to zero takes the bump back to the
 * start in the same swap. That wastes memory while a single block lives, which is the price of needing nothing:
 * handlers' blocks are few and short-lived. A block too large for a shared region gets one of its own, which is
 * unmapped with it.
 *
 * The address map leads to a region by its own kind of entry, start | MAP_EMERGENCY in every granule, so that
 * free, realloc, malloc_usable_size and the walker know the blocks. `check` is made of address, size and the
 * process's secret: no program text, and no header left over from a region's earlier use at another place,
 * looks like one. These blocks have no ledger.
 *
 * Invariant: live blocks in a region == number of headers below the bump whose check says LIVE, but for a
 * block between its reservation and its header.
 *
 * Threads: any, signal handlers included.
 */
#ifndef HEAPTALLY_EMERGENCY_H
#define HEAPTALLY_EMERGENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/allocator.h"
#include "allocator/layout.h"

#define MAP_EMERGENCY     ((uintptr_t)2) /* bit of a map entry */
#define EMERGENCY_MAGIC   0x79636e6567726d65u
#define EMERGENCY_REGIONS 64u /* shared ones; when all are full, each block gets a region of its own */

struct emergency_region {
    uint64_t magic;
    uint64_t length; /* bytes, whole pages. Constant */
    uint64_t first;  /* offset of the first block's header. Constant */
    uint64_t alone;  /* one block only: unmapped with it. Constant */
    uint64_t word;   /* live blocks << 32 | bump, in units of 16 bytes from `first`. Any thread */
    uint64_t unused[3];
};

/* In front of each block. Written by the thread that reserved it; freeing swaps `check`. */
struct emergency_block {
    uint64_t size; /* usable bytes behind this header */
    uint64_t check;
};

enum emergency_state { EMERGENCY_NONE, EMERGENCY_LIVE, EMERGENCY_FREED };

/* What the 16 bytes at `address` (the target's) are. */
static inline enum emergency_state emergency_state(const struct emergency_block *block, uint64_t address,
                                                   uint64_t secret)
{
    uint64_t tag = block->check ^ address ^ block->size ^ secret;
    return tag == EMERGENCY_LIVE ? EMERGENCY_LIVE : tag == EMERGENCY_FREED ? EMERGENCY_FREED : EMERGENCY_NONE;
}

/* alignment: a power of two. NULL when the kernel refuses. */
void *emergency_alloc(size_t size, size_t alignment, bool zeroed);

/* p lies in the granule whose map entry is `entry`. On ALLOC_OK, ALLOC_INTERIOR and ALLOC_DOUBLE_FREE
 * *ret_block is the block, NULL if p is in none. */
enum alloc_status emergency_find(uintptr_t entry, uintptr_t p, struct emergency_block **ret_block);
enum alloc_status emergency_free(struct emergency_block *block);

/* Live blocks of the region at `region`, for statistics. */
uint64_t emergency_live(const struct emergency_region *region);

#endif
