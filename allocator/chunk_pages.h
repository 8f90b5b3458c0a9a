/* SPDX-License-Identifier: MIT */
/*
 * chunk_pages.h - chunks as memory: mapping new ones side by side, returning pages, unmapping. Internal to
 * chunk.c.
 *
 * Decay has two generations: what became free since the last tick (dirty), and what was free for a whole one
 * (aged) and is returned at the next: between one and two decay times after it became free, at the price of
 * two maps.
 *
 * The kernel is called without the arena lock where that can be: first the runs are taken as if they were allocated
 * (their descriptors still say SLOT_FREE), or the chunks leave every table; afterwards runs are given back clean. So
 * nobody waits for a madvise, and nobody is handed a slot that is being emptied. Who does this holds LOCK_PURGE.
 *
 * Threads: everything under the arena lock.
 */
#ifndef HEAPTALLY_CHUNK_PAGES_H
#define HEAPTALLY_CHUNK_PAGES_H

#include <stdbool.h>

#include "allocator/layout.h"

struct slot_run {
    struct chunk *chunk;
    unsigned from, slots;
    bool refused;
};

bool chunk_add(unsigned n);                /* one more chunk, wholly free, with a run of n slots at least */
void chunk_purge_now(struct chunk *chunk); /* return all that is free and resident, under the lock */

/* Take slots that are free out of everybody's reach, until slots_give(). (chunk.c) */
void slots_hold(struct chunk *chunk, unsigned from, unsigned n);

void arenas_link(struct chunk *chunk);   /* every arena with free slots into its bin */
void arenas_unlink(struct chunk *chunk); /* every arena with free slots out of its bin */

#endif
