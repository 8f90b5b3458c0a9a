/* SPDX-License-Identifier: MIT */
/*
 * heap.h - the pools a thread allocates from, and what happens to them when it ends.
 *
 *   heap.class_of_16[(size + 15) / 16] --> c            coarse at first (coarse.h)
 *   heap.bin[c] -----> block -> block -> ...            what is handed out next: of the first pool of current[c]
 *   heap.current[c] --> pool <-> pool <-> ... (ring)    usable pools of class c; the first is the active one
 *   heap.full ------> pool <-> pool <-> ... (ring)      nothing to hand out; off the class's ring
 *   heap.pending ---> pool --> pool                     full pools into which other threads freed (remote.h)
 *   heap.own -------> pool, by slot                     what the fast free looks into (own.h)
 *
 * An allocation that finds the bin empty: replenish it from the active pool, else move that to `full` and try the
 * next; then drain pending; then adopt a pool from the orphanage; then cut a new one. A pool that becomes usable
 * again goes to the ring's end: allocation goes on where it was, and the pool gathers more free blocks meanwhile.
 * An empty pool is kept at the ring's end as a spare until the next trim, so that a program that goes up and down by
 * a pool's worth of blocks, or one block, finds it there. When the spares' pages become too many (SPARE_PAGES), all
 * but the last of them go back.
 *
 * The orphanage is a heap without a thread, whose every operation is under the arena lock. All its pools are
 * WATCHED: the first free into one puts it on the orphanage's pending stack, where the next to take the lock
 * finds out whether it is empty (released) or has space (up for adoption). So frees into the pools of dead
 * threads are neither lost nor searched for.
 *
 * A heap's states: attached (a thread's), idle (on the list of idle heaps; it keeps some empty pools for its next
 * thread, and may still own pools that were QUEUED when its thread ended; they are taken to the orphanage when they
 * arrive), the orphanage, the shared
 * heap.
 *
 * Threads: heap_* on the caller's own heap, unless said otherwise.
 */
#ifndef HEAPTALLY_HEAP_H
#define HEAPTALLY_HEAP_H

#include <stdbool.h>

#include "allocator/layout.h"
#include "allocator/platform.h"
#include "allocator/pool_pages.h"

/* A heap for the calling thread; NULL when out of memory. Takes the arena lock. */
struct heap *heap_attach(void);
/* Its pools go to the orphanage, the heap to the idle ones. Takes the arena lock. */
void heap_detach(struct heap *heap);

/* The bin of this class is empty: fill it. false: out of memory. */
bool heap_refill(struct heap *heap, unsigned class);

/* Pages of a pool that were carved into. */
static inline uint32_t pool_resident_pages(const struct pool *pool)
{
    return (uint32_t)((pool->carved + PLATFORM_PAGE - 1) / PLATFORM_PAGE);
}

/* The pool is allocated from again, or goes. What it has carved did not change meanwhile. */
static inline void heap_forget_spare(struct heap *heap, struct pool *pool)
{
    if (!pool->spare)
        return;
    pool->spare = false;
    heap->spare_pages -= pool_resident_pages(pool);
}

/* What the fast free leaves to do: `used` became 0. */
void heap_pool_emptied(struct heap *heap, struct pool *pool);
/* Free one of its own blocks, whatever the pool's state. */
void heap_free(struct heap *heap, struct pool *pool, void *p);

/* Relist what others freed into. true when there was anything. */
bool heap_drain(struct heap *heap);
/* Give back every pool that is empty, and of the others the pages that hold no live block and rested since the last
 * trim (or as `what` says). Takes the arena lock. true when such pages were returned. */
bool heap_trim(struct heap *heap, enum purge_what what);

/* --- under the arena lock ------------------------------------------------------------------------------- */

/* Look at the orphans somebody freed into, and at idle heaps. */
void orphanage_tend(void);
/* As heap_trim() does it: the pages of orphans without a live block. */
void orphanage_purge_pages(enum purge_what what);
/* Take over a pool that is on no list and QUIET; releases it when it is empty. */
void orphanage_take(struct pool *pool);
/* A pool of this class for `heap`, on no list yet; NULL when there is none. */
struct pool *orphanage_adopt(struct heap *heap, unsigned class);
/* Everything it lists goes to the orphanage, but for pools on their way to its pending stack: these stay on
 * `full`, and their number is returned; and, unless `all`, for some empty ones, which stay spares. */
unsigned heap_abandon(struct heap *heap, bool all);
/* Idle heaps give back the spares they kept, those that were idle at the last call as well, or all. */
void idle_heaps_trim(bool all);
/* heap_detach() of any heap whose thread does nothing with it any more. */
void heap_retire(struct heap *heap);
/* heap_drain() that releases nothing. */
bool heap_drain_locked(struct heap *heap);
/* What is on the bins of a heap that nobody will use again stays known to its pools, which are to be mended. */
void heap_save_bins(const struct heap *heap);
/* No pools. */
void heap_clear(struct heap *heap);
/* Onto the list of those that no thread has. */
void heap_make_idle(struct heap *heap);
/* No pools, no pending. */
void heap_reset(struct heap *heap);
/* Clear the unlisted bit and put the pool on its class's ring; it was on `full`. */
void heap_relist(struct heap *heap, struct pool *pool);
/* The active pool gets back what is left on the bin. */
void heap_empty_bin(struct heap *heap, unsigned class);

#endif
