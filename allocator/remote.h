/* SPDX-License-Identifier: MIT */
/*
 * remote.h - a block freed by a thread that does not own its pool: one atomic push, and word to the owner
 * when needed.
 *
 *   pool.remote, one 64-bit word:   | 33..32 notify | 31..16 length | 15..0 offset / 16 + 1 of the first block |
 *
 * The list is only ever taken whole, so a push needs no protection against ABA: if the word is what it was,
 * its head is the head.
 *
 * notify says whether the owner will look by itself
 *   QUIET    it will: the pool is on its list of usable pools. Pushers only push.
 *   WATCHED  it will not: the pool is full and off the list (or belongs to the orphanage). The one push that
 *            finds WATCHED makes it QUEUED, and then puts the pool on its owner's pending stack.
 *   QUEUED   the pool is on that stack, or about to be. Pushers only push.
 * Only the owner leaves these states: WATCHED -> QUIET when it relists the pool by itself (a compare and swap,
 * which fails if a pusher was first), QUEUED -> QUIET when it drains the stack.
 *
 * Invariants
 *   A QUEUED pool keeps its owner until that owner drains it: the pusher may read `owner` after its swap and
 * be sure. A pool is on at most one stack, at most once: only the swap to QUEUED leads there. Heaps are never
 * freed, so a push onto the stack of a heap whose thread ended is late, never wild: it is drained by the
 * heap's next thread, or by whoever looks after idle heaps under the arena lock (heap.c). A pusher that
 * vanishes between swap and stack (a fork's child does not have it) leaves QUEUED behind; fork.c resets every
 * pool in the child.
 */
#ifndef HEAPTALLY_REMOTE_H
#define HEAPTALLY_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "allocator/layout.h"
#include "allocator/pool.h"

/* Any thread. The block is live and not the caller's own pool's. false: the list holds more than the pool
 * does. */
bool remote_push(struct pool *pool, void *p);

/* Owner, *bin empty: the remote list becomes the bin's. false: there was none. */
bool remote_collect(struct pool *pool, uint64_t *bin);
/* Owner: empty the remote list; returns the word it was. notify stays. */
uint64_t remote_take(struct pool *pool);

/* The list that a word's REMOTE_HEAD leads to; 0, which is an empty one, when there is none or it is not in the pool. */
static inline uint64_t remote_list(const struct pool *pool, uint64_t word, uint64_t secret)
{
    uint64_t head = REMOTE_HEAD(word);
    bool inside = head != 0 && (head - 1) * 16 < (uint64_t)pool->capacity * pool->block_size;
    return inside ? list_from((void *)(pool->start + (head - 1) * 16), secret) : 0;
}

/* Owner: change notify; false when it was not `from`. */
bool remote_change(struct pool *pool, enum remote_notify from, enum remote_notify to);

/* Owner: take the pending stack; linked by pending_next. */
struct pool *remote_drain(struct heap *heap);

#endif
