/* SPDX-License-Identifier: MIT */
/* orphanage.c - heaps without threads: attach and detach, the orphanage, idle heaps. See heap.h. */
#include "allocator/heap.h"

#include <string.h>

#include "allocator/class.h"
#include "allocator/coarse.h"
#include "allocator/metadata.h"
#include "allocator/own.h"
#include "allocator/pool.h"
#include "allocator/pool_pages.h"
#include "allocator/pool_ring.h"
#include "allocator/remote.h"
#include "allocator/state.h"
#include "allocator/vanished.h"

/* How many orphans of one class to look at: they may all be queued, or without a ledger. */
#define ADOPT_TRIES 8
/* Pages of empty pools that a heap keeps for its next thread, until two ticks later: 512 KiB. */
#define IDLE_PAGES 128u
/* And all idle heaps together: 2 MiB. */
#define IDLE_PAGES_ALL 512u

/* --- the orphanage -------------------------------------------------------------------------------------- */

static struct pool **orphan_ring(struct pool *pool, struct pool **ret_none)
{
    bool unlisted = (pool->owner & POOL_UNLISTED) != 0;
    *ret_none = unlisted ? NULL : EMPTY_POOL;
    return unlisted ? &alloc_state.orphanage.full : &alloc_state.orphanage.current[pool->size_class];
}

static void orphan_unlist(struct pool *pool)
{
    struct pool *none, **ring = orphan_ring(pool, &none);
    ring_remove(ring, pool, none);
    alloc_state.orphanage.slots -= pool->slots;
}

static void orphan_list(struct pool *pool)
{
    /* A torn pool's lists cannot be judged yet: it goes where adoption looks, and is mended there. */
    bool full = !pool->torn && !pool_has_space(pool);
    struct pool *none;
    store_relaxed(&pool->owner, (uintptr_t)&alloc_state.orphanage | (full ? POOL_UNLISTED : 0));
    struct pool **ring = orphan_ring(pool, &none);
    ring_append(ring, pool, none);
    alloc_state.orphanage.slots += pool->slots;
}

static bool orphan_is_empty(const struct pool *pool)
{
    return !pool->torn && pool_is_empty(pool);
}

void orphanage_take(struct pool *pool)
{
    for (;;) {
        if (orphan_is_empty(pool)) {
            pool_release(pool);
            return;
        }
        orphan_list(pool);
        (void)remote_change(pool, REMOTE_QUIET, REMOTE_WATCHED);
        bool full = (pool->owner & POOL_UNLISTED) != 0;
        if (!orphan_is_empty(pool) && !(full && pool_has_space(pool)))
            return;
        /* A push slipped in before WATCHED and told nobody. If another came after it, the stack will bring
         * it. */
        if (!remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET))
            return;
        orphan_unlist(pool);
    }
}

static void orphans_settle(void)
{
    struct pool *pool = remote_drain(&alloc_state.orphanage);
    while (pool != NULL) {
        struct pool *next = load_relaxed(&pool->pending_next);
        (void)remote_change(pool, REMOTE_QUEUED, REMOTE_QUIET);
        orphan_unlist(pool);
        if (pool->torn)
            pool_mend(pool);
        orphanage_take(pool);
        pool = next;
    }
}

/* Pools that were QUEUED when their thread ended arrive on the stack of a heap that nobody has. */
static void stragglers_fetch(void)
{
    for (struct heap *heap = alloc_state.idle_heaps; heap != NULL; heap = heap->next_idle) {
        struct pool *pool = remote_drain(heap);
        while (pool != NULL) {
            struct pool *next = load_relaxed(&pool->pending_next);
            (void)remote_change(pool, REMOTE_QUEUED, REMOTE_QUIET);
            ring_remove(&heap->full, pool, NULL);
            alloc_state.stragglers--;
            orphanage_take(pool);
            pool = next;
        }
    }
}

void orphanage_tend(void)
{
    orphans_settle();
    if (alloc_state.stragglers != 0)
        stragglers_fetch();
}

/* Only pools that have something free: the full ones have no such page. */
void orphanage_purge_pages(enum purge_what what)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        struct pool *first = alloc_state.orphanage.current[class], *pool = first;
        for (bool more = first != EMPTY_POOL; more; more = pool != first) {
            (void)pool_purge_pages(pool, what);
            pool = pool->next;
        }
    }
}

static void class_return(struct heap *heap, unsigned class)
{
    while (heap->current[class] != EMPTY_POOL) {
        struct pool *pool = heap->current[class];
        heap_forget_spare(heap, pool);
        ring_remove(&heap->current[class], pool, EMPTY_POOL);
        own_remove(heap, pool);
        pool_release(pool);
    }
}

/* `events` counts the looks that found the heap idle. */
void idle_heaps_trim(bool all)
{
    for (struct heap *heap = alloc_state.idle_heaps; heap != NULL; heap = heap->next_idle) {
        if (heap->spare_pages == 0 || (heap->events++ == 0 && !all))
            continue;
        alloc_state.idle_pages -= heap->spare_pages;
        for (unsigned class = 0; class < CLASS_COUNT; class ++)
            class_return(heap, class);
        heap->slots = 0;
    }
}

static bool orphan_suits(const struct pool *pool)
{
    return pool->ledger != NULL || !alloc_state.keep_ledger;
}

struct pool *orphanage_adopt(struct heap *heap, unsigned class)
{
    struct pool **ring = &alloc_state.orphanage.current[class];
    orphanage_tend();
    for (int i = 0; i < ADOPT_TRIES && *ring != EMPTY_POOL; i++) {
        struct pool *pool = *ring;
        if (!orphan_suits(pool) || !remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET)) {
            *ring = pool->next;
            continue;
        }
        orphan_unlist(pool);
        store_relaxed(&pool->owner, (uintptr_t)heap);
        if (pool->torn)
            pool_mend(pool);
        return pool;
    }
    return NULL;
}

/* --- threads come and go -------------------------------------------------------------------------------- */

void heap_clear(struct heap *heap)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        heap->current[class] = EMPTY_POOL;
        store_relaxed(&heap->bin[class], NO_LIST(alloc_root_data.secret));
    }
    heap->full = NULL;
    heap->spare_pages = heap->slots = 0;
    own_reset(heap);
    store_relaxed(&heap->busy, 0);
}

void heap_reset(struct heap *heap)
{
    heap_clear(heap);
    store_relaxed(&heap->pending, NULL);
}

void heap_make_idle(struct heap *heap)
{
    alloc_state.idle_pages += heap->spare_pages;
    heap->events = 0;
    heap->attached = 0;
    heap->next_idle = alloc_state.idle_heaps;
    alloc_state.idle_heaps = heap;
}

static struct heap *heap_create(void)
{
    struct heap *heap = metadata_keep(sizeof *heap);
    if (heap == NULL)
        return NULL;
    memset(heap, 0, sizeof *heap);
    heap->own = OWN_NOTHING;
    heap_reset(heap);
    heap->secret = alloc_root_data.secret;
    heap->spans.word = alloc_state.no_spans;
    heap->next_all = alloc_state.all_heaps;
    alloc_state.all_heaps = heap;
    return heap;
}

struct heap *heap_attach(void)
{
    state_lock(LOCK_ARENA);
    struct heap *heap = alloc_state.idle_heaps;
    if (heap == NULL && vanished_collect())
        heap = alloc_state.idle_heaps;
    if (heap != NULL) {
        alloc_state.idle_heaps = heap->next_idle;
        alloc_state.stragglers -= ring_length(heap->full, NULL);
        alloc_state.idle_pages -= heap->spare_pages;
    } else {
        heap = heap_create();
    }
    if (heap != NULL) {
        heap->attached = vanished_claim();
        heap->inherited = heap->spare_pages;
        heap->grown = 0;
        coarse_begin(heap);
    }
    state_unlock(LOCK_ARENA);
    return heap;
}

/* Nothing of it is out, and nobody else will ever push to it. */
static bool pool_may_stay(const struct heap *heap, const struct pool *pool)
{
    return !pool->torn && pool->used == 0 && REMOTE_COUNT(load_acquire(&pool->remote)) == 0 &&
           heap->spare_pages + pool_resident_pages(pool) <= IDLE_PAGES &&
           alloc_state.idle_pages + heap->spare_pages < IDLE_PAGES_ALL;
}

/* The pools that stay are spares again. */
static void class_abandon(struct heap *heap, unsigned class, bool all)
{
    struct pool *kept = EMPTY_POOL;
    heap_empty_bin(heap, class);
    while (heap->current[class] != EMPTY_POOL) {
        struct pool *pool = heap->current[class];
        ring_remove(&heap->current[class], pool, EMPTY_POOL);
        pool->spare = pool->passed = false;
        pool->shorts = 0; /* or a list grew by a page every sixteen threads, however few blocks one has */
        if (!all && pool_may_stay(heap, pool)) {
            pool->spare = true;
            heap->spare_pages += pool_resident_pages(pool);
            heap->slots += pool->slots;
            ring_append(&kept, pool, EMPTY_POOL);
            continue;
        }
        own_remove(heap, pool);
        orphanage_take(pool);
    }
    heap->current[class] = kept;
}

unsigned heap_abandon(struct heap *heap, bool all)
{
    (void)heap_drain_locked(heap);
    heap->spare_pages = heap->slots = 0;
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        class_abandon(heap, class, all);
    unsigned left = 0;
    for (unsigned i = ring_length(heap->full, NULL); i > 0; i--) {
        struct pool *pool = heap->full;
        pool_undisguise(pool);
        own_remove(heap, pool);
        if (!remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET)) {
            heap->full = pool->next;
            left++;
            continue;
        }
        ring_remove(&heap->full, pool, NULL);
        orphanage_take(pool);
    }
    return left;
}

void heap_retire(struct heap *heap)
{
    alloc_state.stragglers += heap_abandon(heap, false);
    heap_make_idle(heap);
}

void heap_detach(struct heap *heap)
{
    state_lock(LOCK_ARENA);
    heap_retire(heap);
    state_unlock(LOCK_ARENA);
}
