/* SPDX-License-Identifier: MIT */
/*
 * purge.h - when memory goes back: ticks on slow paths, no thread of our own.
 *
 * A tick is due once per decay time. It looks after the orphanage and returns what has been free for a whole
 * decay time (chunk_pages.h). A program that never allocates or frees again never ticks, and keeps what it
 * has.
 */
#ifndef HEAPTALLY_PURGE_H
#define HEAPTALLY_PURGE_H

#include <stdbool.h>

#include "allocator/layout.h"

void purge_tick(void);             /* arena lock held; cheap when not due */
bool purge_all_locked(void);       /* arena lock held; return everything that is free */
bool purge_due(struct heap *heap); /* the owner: time to trim this heap? At most once per decay time */

#endif
