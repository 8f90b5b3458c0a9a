/* SPDX-License-Identifier: MIT */
/*
 * slotmap.h - a chunk's 256-bit maps: set and clear ranges, find the next set or clear bit.
 */
#ifndef HEAPTALLY_SLOTMAP_H
#define HEAPTALLY_SLOTMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "allocator/layout.h"

/* The bits of `word` that lie in [from, from + n); n > 0, and some of them do. */
static inline uint64_t slotmap_mask(unsigned word, unsigned from, unsigned n)
{
    unsigned low = word * 64, last = from + n - 1;
    uint64_t mask = ~(uint64_t)0;
    if (from > low)
        mask <<= from - low;
    if (last < low + 63)
        mask &= ~(uint64_t)0 >> (low + 63 - last);
    return mask;
}

static inline void slotmap_set(uint64_t *map, unsigned from, unsigned n)
{
    for (unsigned word = from / 64; word * 64 < from + n; word++)
        map[word] |= slotmap_mask(word, from, n);
}

static inline void slotmap_clear(uint64_t *map, unsigned from, unsigned n)
{
    for (unsigned word = from / 64; word * 64 < from + n; word++)
        map[word] &= ~slotmap_mask(word, from, n);
}

/* popcount without the machine's instruction for it, which not all have, is a call. */
static inline unsigned slotmap_bits(uint64_t bits)
{
    return bits == 0 ? 0 : (unsigned)__builtin_popcountll(bits);
}

static inline unsigned slotmap_count(const uint64_t *map, unsigned from, unsigned n)
{
    unsigned count = 0;
    for (unsigned word = from / 64; word * 64 < from + n; word++)
        count += slotmap_bits(map[word] & slotmap_mask(word, from, n));
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
