/* SPDX-License-Identifier: MIT */
/*
 * quarantine.h - freed blocks wait here before the allocator may hand them out again (harden=1).
 *
 *        tail                     head
 *   | .. | block | block |  0  | block | .. |      16384 places in a ring, first in, first out
 *
 * Bounded twice: by its places and by the bytes that wait (setting quarantine). What has to make room is given back by the
 * same call. To the allocator a block in here is live; its ledger entry says that it is freed.
 *
 * Threads: any, no lock, so that a signal handler and a forked child may come in the middle of anything. A putter claims a
 * number by adding to `head` and exchanges its block into that place: what was there, if anything, is the putter's to let go.
 * A taker claims a number by compare and swap of `tail` and exchanges zero into the place. A block is in at most one
 * thread's hands, because only exchanges move it. A putter that is late leaves its block in a place that the tail has
 * passed: it stays until the head comes round.
 */
#ifndef HEAPTALLY_QUARANTINE_H
#define HEAPTALLY_QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Called with each block that leaves, in the thread that made it leave. */
typedef void quarantine_leave(void *block);

/* Once, before the first put. false: no memory; nothing is ever kept. */
bool quarantine_start(uint64_t bytes, quarantine_leave *leave);

/* Is a block of `capacity` bytes kept at all? Larger ones would drive out everything else. */
bool quarantine_takes(size_t capacity);
void quarantine_put(void *block, size_t capacity);
/* A block has left, or was found to be gone: its bytes count no longer. From `leave`. */
void quarantine_uncount(size_t capacity);
/* Let all go, since memory is out; not for a request that is larger than what waits. true: something left. */
bool quarantine_empty(size_t wanted);
/* All that wait; they stay out of the allocator's reach. When the process ends. */
void quarantine_each(void (*look)(void *block));

#endif
