/* SPDX-License-Identifier: MIT */
/* heap.c - see heap.h; the orphanage and threads' coming and going are in orphanage.c. */
#include "allocator/heap.h"

#include "allocator/class.h"
#include "allocator/pool.h"
#include "allocator/pool_ring.h"
#include "allocator/purge.h"
#include "allocator/remote.h"
#include "allocator/state.h"

/* --- full and back -------------------------------------------------------------------------------------- */

/* false: meanwhile somebody freed into it, and it is not full. The owner's word comes first, so that a pusher
 * that finds WATCHED finds the pool where the owner's drain expects it. */
static bool heap_set_full(struct heap *heap, struct pool *pool)
{
    ring_remove(&heap->current[pool->size_class], pool, EMPTY_POOL);
    ring_append(&heap->full, pool, NULL);
    store_relaxed(&pool->owner, (uintptr_t)heap | POOL_UNLISTED);
    (void)remote_change(pool, REMOTE_QUIET, REMOTE_WATCHED);
    if (REMOTE_HEAD(load_acquire(&pool->remote)) == 0)
        return true;
    /* A push came before WATCHED and told nobody, or after it and is on its way to pending: then drain
     * relists. */
    if (remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET))
        heap_relist(heap, pool);
    return false;
}

void heap_relist(struct heap *heap, struct pool *pool)
{
    store_relaxed(&pool->owner, (uintptr_t)heap);
    ring_remove(&heap->full, pool, NULL);
    ring_append(&heap->current[pool->size_class], pool, EMPTY_POOL);
}

static void pool_return(struct heap *heap, struct pool *pool)
{
    ring_remove(&heap->current[pool->size_class], pool, EMPTY_POOL);
    state_lock(LOCK_ARENA);
    pool_release(pool);
    purge_tick();
    state_unlock(LOCK_ARENA);
}

/* The last usable pool of a class stays: a program that allocates and frees one block would otherwise take
 * and release slots each time. */
static void pool_return_if_spare(struct heap *heap, struct pool *pool)
{
    if (pool->used == 0 && (pool->next != pool || load_relaxed(&alloc_state.decay_ms) == 0))
        pool_return(heap, pool);
}

static void pending_relist(struct heap *heap, struct pool *pool)
{
    (void)remote_change(pool, REMOTE_QUEUED, REMOTE_QUIET);
    heap_relist(heap, pool);
    if (load_relaxed(&pool->free_list) == NULL)
        (void)remote_collect(pool);
}

bool heap_drain_locked(struct heap *heap)
{
    struct pool *pool = remote_drain(heap), *next;
    bool any = pool != NULL;
    for (; pool != NULL; pool = next) {
        /* Read before the change of state: afterwards the pool may be queued again at once. */
        next = load_relaxed(&pool->pending_next);
        pending_relist(heap, pool);
    }
    return any;
}

bool heap_drain(struct heap *heap)
{
    struct pool *pool = remote_drain(heap), *next;
    bool any = pool != NULL;
    for (; pool != NULL; pool = next) {
        next = load_relaxed(&pool->pending_next);
        pending_relist(heap, pool);
        pool_return_if_spare(heap, pool);
    }
    return any;
}

/* --- freeing -------------------------------------------------------------------------------------------- */

/* From the inline free, perhaps in a signal handler that interrupted a slow path: then the pool waits for the
 * next trim. */
void heap_pool_emptied(struct heap *heap, struct pool *pool)
{
    if (load_relaxed(&heap->busy) != 0)
        return;
    store_relaxed(&heap->busy, 1);
    pool_return_if_spare(heap, pool);
    store_relaxed(&heap->busy, 0);
}

void heap_free(struct heap *heap, struct pool *pool, void *p)
{
    pool_push(pool, p, heap->secret);
    if ((pool->owner & POOL_UNLISTED) != 0) {
        /* If a pusher was first, its entry on the pending stack relists the pool. */
        if (!remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET))
            return;
        heap_relist(heap, pool);
    }
    pool_return_if_spare(heap, pool);
}

/* --- allocating ----------------------------------------------------------------------------------------- */

/* Arena lock held. */
static struct pool *pool_create(struct heap *heap, unsigned class)
{
    bool fresh;
    struct pool *pool = slots_take(alloc_class[class].slots, 1, &fresh);
    if (pool == NULL)
        return NULL;
    if (!pool_init(pool, heap, class, fresh)) {
        slots_give(chunk_of(pool), slot_index(pool), pool->slots, !fresh);
        return NULL;
    }
    return pool;
}

static struct pool *pool_obtain(struct heap *heap, unsigned class)
{
    state_lock(LOCK_ARENA);
    purge_tick();
    struct pool *pool = orphanage_adopt(heap, class);
    if (pool == NULL)
        pool = pool_create(heap, class);
    if (pool == NULL && purge_all_locked())
        pool = pool_create(heap, class);
    state_unlock(LOCK_ARENA);
    if (pool != NULL)
        ring_append(&heap->current[class], pool, EMPTY_POOL);
    return pool;
}

/* Before the program hears that memory is out, this heap's own empty pools go back too. */
static struct pool *pool_obtain_at_last(struct heap *heap, unsigned class)
{
    struct pool *pool = pool_obtain(heap, class);
    if (pool != NULL)
        return pool;
    heap_trim(heap);
    return pool_obtain(heap, class);
}

/* The first pool of the ring that has something; the full ones before it leave the ring. */
static struct pool *ring_search(struct heap *heap, unsigned class)
{
    for (struct pool *pool; (pool = heap->current[class]) != EMPTY_POOL;) {
        if (pool_replenish(pool))
            return pool;
        heap_set_full(heap, pool);
    }
    return NULL;
}

struct pool *heap_refill(struct heap *heap, unsigned class)
{
    struct pool *pool = ring_search(heap, class);
    if (pool == NULL && heap_drain(heap))
        pool = ring_search(heap, class);
    if (pool != NULL)
        return pool;
    if (purge_due(heap))
        heap_trim(heap);
    /* An adopted pool may have been mended down to nothing: hence the search again. */
    while (pool == NULL && pool_obtain_at_last(heap, class) != NULL)
        pool = ring_search(heap, class);
    return pool;
}

/* --- trimming ------------------------------------------------------------------------------------------- */

static void class_trim(struct heap *heap, unsigned class)
{
    struct pool *first = heap->current[class], *pool = first;
    if (first == EMPTY_POOL)
        return;
    do {
        struct pool *next = pool->next;
        bool last = next == first;
        if (pool_is_empty(pool)) {
            if (pool == first)
                first = next;
            ring_remove(&heap->current[class], pool, EMPTY_POOL);
            pool_release(pool);
        }
        if (last)
            return;
        pool = next;
    } while (heap->current[class] != EMPTY_POOL);
}

void heap_trim(struct heap *heap)
{
    (void)heap_drain(heap);
    state_lock(LOCK_ARENA);
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        class_trim(heap, class);
    state_unlock(LOCK_ARENA);
}
