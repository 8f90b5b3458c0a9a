/* SPDX-License-Identifier: MIT */
/* remote.c - see remote.h. */
#include "allocator/remote.h"

#include "allocator/pool.h"
#include "allocator/state.h"

#define NOTIFY_SHIFT 32

static uint64_t remote_word(uint32_t head, uint32_t count, unsigned notify)
{
    return head | (uint64_t)count << 16 | (uint64_t)notify << NOTIFY_SHIFT;
}

static uint64_t remote_with(uint64_t word, unsigned notify)
{
    return remote_word(REMOTE_HEAD(word), REMOTE_COUNT(word), notify);
}

static void pending_push(struct pool *pool)
{
    /* Stable: see the first invariant. */
    struct heap *heap = (struct heap *)(load_acquire(&pool->owner) & ~POOL_UNLISTED);
    struct pool *first = load_relaxed(&heap->pending);
    do
        store_relaxed(&pool->pending_next, first);
    while (!cas_weak_acq_rel(&heap->pending, &first, pool));
}

bool remote_push(struct pool *pool, void *p)
{
    uint64_t secret = alloc_root_data.secret, word = load_acquire(&pool->remote), pushed;
    uint32_t head = (uint32_t)(((uintptr_t)p - pool->start) / 16 + 1);
    struct free_block *block = p;
    store_relaxed(&block->mark, list_from(p, secret));
    do {
        if (unlikely(REMOTE_COUNT(word) >= pool->capacity))
            return false;
        uint64_t list = remote_list(pool, word, secret);
        store_relaxed(&block->link, list != 0 ? list : list_end(pool, secret));
        unsigned notify = REMOTE_NOTIFY(word) == REMOTE_WATCHED ? REMOTE_QUEUED : REMOTE_NOTIFY(word);
        pushed = remote_word(head, REMOTE_COUNT(word) + 1, notify);
    } while (!cas_weak_acq_rel(&pool->remote, &word, pushed));
    if (REMOTE_NOTIFY(word) == REMOTE_WATCHED)
        pending_push(pool);
    return true;
}

/* The list is on the bin before it leaves the word: at no moment is it in neither, where a reader of a stopped
 * process would take its blocks for live ones. On both sides they count as used. */
bool remote_collect(struct pool *pool, uint64_t *bin)
{
    uint64_t word = load_acquire(&pool->remote), list;
    do {
        if ((list = remote_list(pool, word, alloc_root_data.secret)) == 0)
            return false;
        store_relaxed(bin, list);
    } while (!cas_weak_acq_rel(&pool->remote, &word, remote_word(0, 0, REMOTE_NOTIFY(word))));
    pool->list_is_zero = false;
    return true;
}

uint64_t remote_take(struct pool *pool)
{
    uint64_t word = load_acquire(&pool->remote);
    while (!cas_weak_acq_rel(&pool->remote, &word, remote_word(0, 0, REMOTE_NOTIFY(word))))
        ;
    return word;
}

bool remote_change(struct pool *pool, enum remote_notify from, enum remote_notify to)
{
    uint64_t word = load_acquire(&pool->remote);
    do {
        if (REMOTE_NOTIFY(word) != from)
            return false;
    } while (!cas_weak_acq_rel(&pool->remote, &word, remote_with(word, to)));
    return true;
}

struct pool *remote_drain(struct heap *heap)
{
    if (load_relaxed(&heap->pending) == NULL)
        return NULL;
    return exchange_acq_rel(&heap->pending, NULL);
}
