/* SPDX-License-Identifier: MIT */
/*
 * purge.h - when memory goes back: ticks on slow paths, no thread of our own.
 *
 *   tick:  spans in threads' caches --> free slots (dirty) --> aged --> returned to the kernel, or the chunk unmapped
 *          freed mappings (cached)  ------------------------> aged --> unmapped
 *
 * A tick is due once per decay time. It looks after the orphanage and returns what has been free for a whole
 * decay time (chunk_pages.h, mapping.h). A program that never allocates or frees again never ticks, and keeps what it
 * has.
 *
 * Threads: LOCK_PURGE is held by whoever returns memory, and nobody waits for it but fork, malloc_trim, and a thread
 * that finds no memory: the last must not be told so while another has taken some aside to return it.
 */
#ifndef HEAPTALLY_PURGE_H
#define HEAPTALLY_PURGE_H

#include <stdbool.h>

#include "allocator/layout.h"

/* Arena lock held, of which both let go for a while. The tick is cheap when not due. */
void purge_tick(void);
bool purge_all_locked(void); /* return everything that is free */

void purge_poll(void);             /* no lock held: a tick if one is due */
bool purge_due(struct heap *heap); /* the owner: time to trim this heap? At most once per decay time */

#endif
