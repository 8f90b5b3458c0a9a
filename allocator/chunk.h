/* SPDX-License-Identifier: MIT */
/*
 * chunk.h - slots: taking runs of them from the fullest arena that has one, giving them back, growing and
 * shrinking.
 *
 *   arena_bin[k]: arenas with k free slots     |  a run of n slots: bins n, n+1, .. 16: the fullest arena
 * first, 1: A3 <-> A9   2: A1   ...   16: A7        |  then any chunk with room, across arenas, then a new
 * chunk
 *
 * Arenas that were never used are in no bin; they are found by chunk, lowest address first. (Tried and left: any run
 * that is resident first. It lowered no workload's peak, and cut arenas up for spans. For pools, which need not be as long
 * as they might be, it is another matter: slots_find_resident().)
 *
 * Taking from the fullest lets the others become empty, and a chunk whose arenas are all empty goes back
 * whole. Arenas are known by a 32-bit id (address >> 18), their links live in the descriptor of their first
 * slot.
 *
 * Invariants: free_slots == bits in free_map; dirty and aged are disjoint subsets of free; an arena with k >=
 * 1 free slots is in bin k, one with none in no bin. chunk_room[i] >= the longest free run of chunk i.
 *
 * Threads: everything under the arena lock.
 */
#ifndef HEAPTALLY_CHUNK_H
#define HEAPTALLY_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "allocator/layout.h"
#include "allocator/state.h"

/* A run of n slots (1 .. 128) that starts at a multiple of align slots (a power of two). Its descriptors say
 * nothing new yet but `slots` and `distance`. *ret_zeroed: the memory is known to read as zeros. */
struct pool *slots_take(unsigned n, unsigned align, bool *ret_zeroed);

/* A run of `least` to `most` free slots that are resident, in one of the first chunks that have any: the first slot's
 * descriptor, and how many there are. It is still to be taken, or a part of it from its start. NULL: none is there. */
struct pool *slots_find_resident(unsigned least, unsigned most, unsigned *ret_n);
void slots_take_at(struct pool *first, unsigned n);

/* `more` slots right behind a run, if they are free. */
bool slots_extend(struct pool *first, unsigned more, bool *ret_zeroed);

/* Give back slots [from, from + n) of a chunk; their descriptors become SLOT_FREE. dirty: they may be
 * resident. */
void slots_give(struct chunk *chunk, unsigned from, unsigned n, bool dirty);

/* Return what is free and resident: of the last tick's, or all of it; chunks that are wholly free are unmapped but for
 * one. true when something was returned. LOCK_PURGE is held too; lets go of the arena lock for a while. */
bool chunks_purge(bool all);

/* The longest run of free slots, counted. */
unsigned chunk_longest_run(const struct chunk *chunk);

static inline struct chunk *chunk_of(const struct pool *pool)
{
    return (struct chunk *)((uintptr_t)pool & ~(uintptr_t)(CHUNK_SIZE - 1));
}

static inline unsigned slot_index(const struct pool *pool)
{
    return (unsigned)(((uintptr_t)pool & (CHUNK_SIZE - 1)) / sizeof(struct pool));
}

static inline unsigned char *slot_memory(const struct pool *pool)
{
    return (unsigned char *)chunk_of(pool) + ((size_t)slot_index(pool) << SLOT_SHIFT);
}

/* The slots that a chunk has memory for. */
static inline unsigned chunk_slots(const struct chunk *chunk)
{
    return chunk->header.mapped_slots;
}

static inline bool slot_bit(const uint64_t *map, unsigned slot)
{
    return map[slot / 64] >> slot % 64 & 1;
}

#endif
