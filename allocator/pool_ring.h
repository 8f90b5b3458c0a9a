/* SPDX-License-Identifier: MIT */
/*
 * pool_ring.h - rings of pools by next and prev. `none` stands for the empty ring: NULL, or the empty pool
 * where the fast path must find something it can look into.
 */
#ifndef HEAPTALLY_POOL_RING_H
#define HEAPTALLY_POOL_RING_H

#include "allocator/layout.h"

static inline void ring_append(struct pool **first, struct pool *pool, struct pool *none)
{
    if (*first == none) {
        pool->next = pool->prev = pool;
        *first = pool;
        return;
    }
    struct pool *last = (*first)->prev;
    pool->next = *first;
    pool->prev = last;
    last->next = pool;
    (*first)->prev = pool;
}

static inline void ring_remove(struct pool **first, struct pool *pool, struct pool *none)
{
    if (pool->next == pool) {
        *first = none;
    } else {
        pool->next->prev = pool->prev;
        pool->prev->next = pool->next;
        if (*first == pool)
            *first = pool->next;
    }
    pool->next = pool->prev = NULL;
}

static inline unsigned ring_length(const struct pool *first, const struct pool *none)
{
    unsigned length = 0;
    const struct pool *pool = first;
    if (first == none)
        return 0;
    do {
        length++;
        pool = pool->next;
    } while (pool != first);
    return length;
}

#endif
