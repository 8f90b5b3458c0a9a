/* SPDX-License-Identifier: MIT */
/*
 * chunk_pages.h - chunks as memory: mapping new ones side by side, returning pages, unmapping. Internal to
 * chunk.c.
 *
 * Decay has two generations: what became free since the last tick (dirty), and what was free for a whole one
 * (aged) and is returned at the next: between one and two decay times after it became free, at the price of
 * two maps.
 *
 * Threads: everything under the arena lock.
 */
#ifndef HEAPTALLY_CHUNK_PAGES_H
#define HEAPTALLY_CHUNK_PAGES_H

#include <stdbool.h>

#include "allocator/layout.h"

bool chunk_add(void);                      /* one more chunk, wholly free */
bool chunk_purge_now(struct chunk *chunk); /* return all that is free and resident */

void arenas_link(struct chunk *chunk);   /* every arena into its bin; all have free slots */
void arenas_unlink(struct chunk *chunk); /* every arena out of its bin; all have free slots */

#endif
