/* SPDX-License-Identifier: MIT */
/*
 * slotmap.h - a chunk's 256-bit maps: set and clear ranges, find the next set or clear bit.
 */
#ifndef HEAPTALLY_SLOTMAP_H
#define HEAPTALLY_SLOTMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "allocator/layout.h"

/* The bits of `word` that lie in [from, from + n). */
static inline uint64_t slotmap_mask(unsigned word, unsigned from, unsigned n)
{
    unsigned low = word * 64, end = from + n;
    if (end <= low || from >= low + 64)
        return 0;
    uint64_t mask = ~(uint64_t)0;
    if (from > low)
        mask &= ~(uint64_t)0 << (from - low);
    if (end < low + 64)
        mask &= ~(uint64_t)0 >> (low + 64 - end);
    return mask;
}

static inline void slotmap_set(uint64_t *map, unsigned from, unsigned n)
{
    for (unsigned word = 0; word < MAP_WORDS; word++)
        map[word] |= slotmap_mask(word, from, n);
}

static inline void slotmap_clear(uint64_t *map, unsigned from, unsigned n)
{
    for (unsigned word = 0; word < MAP_WORDS; word++)
        map[word] &= ~slotmap_mask(word, from, n);
}

static inline unsigned slotmap_count(const uint64_t *map, unsigned from, unsigned n)
{
    unsigned count = 0;
    for (unsigned word = 0; word < MAP_WORDS; word++)
        count += (unsigned)__builtin_popcountll(map[word] & slotmap_mask(word, from, n));
    return count;
}

/* The first bit at or after `from` that is set (or clear, with flip all ones); CHUNK_SLOTS when there is
 * none. */
static inline unsigned slotmap_next(const uint64_t *map, unsigned from, uint64_t flip)
{
    for (unsigned word = from / 64; word < MAP_WORDS; word++) {
        uint64_t bits = map[word] ^ flip;
        if (word == from / 64)
            bits &= ~(uint64_t)0 << from % 64;
        if (bits != 0)
            return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return CHUNK_SLOTS;
}

#define SLOTMAP_SET   ((uint64_t)0)
#define SLOTMAP_CLEAR (~(uint64_t)0)

#endif
