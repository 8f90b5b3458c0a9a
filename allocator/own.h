/* SPDX-License-Identifier: MIT */
/*
 * own.h - a heap's table from slots to its own pools: what lets free find pool and owner in one load.
 *
 *   address >> 14 = slot number, its low bits --> own[i] --> pool (every slot of it has an entry) or the empty pool
 *
 * Two slots that meet at one index: the table doubles until they part, within reason (OWN_RATIO); past that the
 * later one is left out, and frees into it take the slow path, which asks the address map. Chunks are mapped side
 * by side, so a table with as many entries as the heap's slots spread over has no such meetings.
 *
 * Threads: the owner; or, for a heap that no thread has, under the arena lock.
 */
#ifndef HEAPTALLY_OWN_H
#define HEAPTALLY_OWN_H

#include <stdbool.h>

#include "allocator/layout.h"

extern LAYOUT_HIDDEN struct pool *const alloc_own_nothing[1];
/* The table of a heap that has none. */
#define OWN_NOTHING ((struct pool **)(uintptr_t)alloc_own_nothing)

void own_add(struct heap *heap, struct pool *pool);
void own_remove(struct heap *heap, const struct pool *pool);
/* No pools; a large table is given back. */
void own_reset(struct heap *heap);
/* Is the pool's first slot in the table? */
bool own_has(const struct heap *heap, const struct pool *pool);

#endif
