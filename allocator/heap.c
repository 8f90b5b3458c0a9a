/* SPDX-License-Identifier: MIT */
/* heap.c - see heap.h; the orphanage and threads' coming and going are in orphanage.c. */
#include "allocator/heap.h"

#include "allocator/class.h"
#include "allocator/nested.h"
#include "allocator/own.h"
#include "allocator/pool.h"
#include "allocator/pool_pages.h"
#include "allocator/pool_ring.h"
#include "allocator/purge.h"
#include "allocator/remote.h"
#include "allocator/state.h"

/* Pages of empty pools that a heap keeps until its next trim: 384 KiB and an eighth of what it has, at most 4 MiB. */
#define SPARE_PAGES     96u
#define SPARE_SHARE     8u
#define SPARE_PAGES_MAX 1024u

/* Below so many slots, 1 MiB, a heap's pools of blocks up to so many bytes have all their slots. */
#define SMALL_HEAP_SLOTS 64u
#define GATED_SIZE       1024u

/* How many pools become usable or empty between two looks at the clock. */
#define EVENTS_PER_LOOK 32u

/* --- full and back -------------------------------------------------------------------------------------- */

/* false: meanwhile somebody freed into it, and it is not full. The owner's word comes first, so that a pusher
 * that finds WATCHED finds the pool where the owner's drain expects it. */
static bool heap_set_full(struct heap *heap, struct pool *pool)
{
    ring_remove(&heap->current[pool->size_class], pool, EMPTY_POOL);
    ring_append(&heap->full, pool, NULL);
    store_relaxed(&pool->owner, (uintptr_t)heap | POOL_UNLISTED);
    store_relaxed(&pool->full, true);
    store_relaxed(&pool->used, 1);
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
    /* A heap that was lost had it (nested.h). */
    if (unlikely(pool->torn))
        pool_mend(pool);
    pool_undisguise(pool);
    store_relaxed(&pool->owner, (uintptr_t)heap);
    ring_remove(&heap->full, pool, NULL);
    ring_append(&heap->current[pool->size_class], pool, EMPTY_POOL);
    pool->passed = false;
    if (pool->purged == 0 && !own_has(heap, pool))
        own_add(heap, pool);
}

/* --- empty ---------------------------------------------------------------------------------------------- */

/* Off the heap's books. Nothing of it is on the bin. */
static void pool_leave(struct heap *heap, struct pool *pool)
{
    heap_forget_spare(heap, pool);
    ring_remove(&heap->current[pool->size_class], pool, EMPTY_POOL);
    own_remove(heap, pool);
    /* Stragglers of a former thread's were not counted. */
    heap->slots -= heap->slots < pool->slots ? heap->slots : pool->slots;
}

__attribute__((noinline)) static void pool_return(struct heap *heap, struct pool *pool)
{
    if (heap->current[pool->size_class] == pool)
        heap_empty_bin(heap, pool->size_class);
    pool_leave(heap, pool);
    state_lock(LOCK_ARENA);
    pool_release(pool);
    purge_tick();
    state_unlock(LOCK_ARENA);
}

/* Spares are at the ends of their rings, but for one that is its ring's first. Arena lock held. */
static void class_return_spares(struct heap *heap, unsigned class, const struct pool *but)
{
    for (;;) {
        struct pool *first = heap->current[class];
        if (first == EMPTY_POOL)
            return;
        struct pool *spare = first->prev != but ? first->prev : first->prev->prev;
        if (spare == but || !spare->spare)
            return;
        if (spare == first)
            heap_empty_bin(heap, class);
        pool_leave(heap, spare);
        pool_release(spare);
    }
}

static void spares_release(struct heap *heap, const struct pool *but)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        class_return_spares(heap, class, but);
}

__attribute__((noinline)) static void heap_return_spares(struct heap *heap, const struct pool *but)
{
    state_lock(LOCK_ARENA);
    spares_release(heap, but);
    purge_tick();
    state_unlock(LOCK_ARENA);
}

static uint32_t spare_pages_limit(const struct heap *heap)
{
    uint32_t limit = SPARE_PAGES + heap->slots * (uint32_t)(SLOT_SIZE / PLATFORM_PAGE) / SPARE_SHARE;
    return limit < SPARE_PAGES_MAX ? limit : SPARE_PAGES_MAX;
}

static bool spares_are_few(const struct heap *heap)
{
    return likely(heap->spare_pages <= SPARE_PAGES) || heap->spare_pages <= spare_pages_limit(heap);
}

/* At the ring's end it is the last to be allocated from. */
static inline void pool_keep(struct heap *heap, struct pool *pool)
{
    struct pool **ring = &heap->current[pool->size_class];
    if (*ring != pool && *ring != pool->next) {
        ring_remove(ring, pool, EMPTY_POOL);
        ring_append(ring, pool, EMPTY_POOL);
    }
    if (!pool->spare) {
        pool->spare = true;
        heap->spare_pages += pool_resident_pages(pool);
    }
    if (unlikely(!spares_are_few(heap)))
        heap_return_spares(heap, pool);
}

/* Empty, or not: the blocks on the remote list count as used. `used` is itself here. Full pools wait for the drain. */
static inline void pool_settle_empty(struct heap *heap, struct pool *pool)
{
    if ((pool->owner & POOL_UNLISTED) != 0 || REMOTE_COUNT(load_acquire(&pool->remote)) != pool->used)
        return;
    if (unlikely(load_relaxed(&alloc_state.decay_ms) == 0))
        pool_return(heap, pool);
    else
        pool_keep(heap, pool);
}

/* --- drain ---------------------------------------------------------------------------------------------- */

static void pending_relist(struct heap *heap, struct pool *pool)
{
    (void)remote_change(pool, REMOTE_QUEUED, REMOTE_QUIET);
    heap_relist(heap, pool);
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
        pool_settle_empty(heap, pool);
    }
    return any;
}

/* --- freeing -------------------------------------------------------------------------------------------- */

/* One block came back, and `used` is itself again. */
static void pool_count_first_free(struct pool *pool)
{
    store_relaxed(&pool->used, (uint32_t)pool->capacity - 1);
    store_relaxed(&pool->full, false);
}

/* The first free into a full pool. If a pusher of another thread was before us, its entry on the pending stack
 * relists the pool. */
__attribute__((noinline)) static void pool_reopen(struct heap *heap, struct pool *pool)
{
    pool_count_first_free(pool);
    if (remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET))
        heap_relist(heap, pool);
}

/* A program that only frees comes by nowhere else. */
__attribute__((noinline)) static void heap_look(struct heap *heap)
{
    if (purge_due(heap))
        (void)heap_trim(heap, PURGE_RESTED);
}

/* Between the fast path's last store and `busy` the pool is still only ours to give back: hence the section. In a
 * signal handler that interrupted a slow path and is not known to have (nested.h), an empty pool waits for the next
 * trim, and a full one is made to count right. */
ALLOC_FAST void heap_pool_emptied(struct heap *heap, struct pool *pool)
{
    if (unlikely(load_relaxed(&heap->busy) != 0 || state_holds_lock())) {
        if (pool->full)
            pool_count_first_free(pool);
        return;
    }
    heap_enter(heap);
    if (unlikely(pool->full))
        pool_reopen(heap, pool);
    else
        pool_settle_empty(heap, pool);
    /* The pool may be gone by now. */
    if (unlikely(++heap->events % EVENTS_PER_LOOK == 0))
        heap_look(heap);
    heap_leave(heap);
}

void heap_free(struct heap *heap, struct pool *pool, void *p)
{
    if (pool_push(pool, p, list_from(p, heap->secret)))
        return;
    if (pool->full)
        pool_reopen(heap, pool);
    else
        pool_settle_empty(heap, pool);
}

/* --- allocating ----------------------------------------------------------------------------------------- */

/* As long as there are slots in a row; but a class's first pool is as short as can be, as many classes see a few blocks
 * only, and those of small blocks are whole while the heap is small: a slow path every 16 blocks of 1 KiB makes 24
 * instructions a malloc and 28 a free, instead of 20 and 26, and a MiB is no memory to speak of. */
static struct pool *take_resident(const struct heap *heap, unsigned class)
{
    unsigned least = class_slots_least(class), n, most = alloc_class[class].slots;
    if (alloc_class[class].size <= GATED_SIZE && heap->slots < SMALL_HEAP_SLOTS)
        least = most;
    else if (heap->current[class] == EMPTY_POOL)
        most = least;
    struct pool *pool = slots_find_resident(least, most, &n);
    if (pool == NULL)
        return NULL;
    while (!class_slots_serve(class, n))
        n--;
    slots_take_at(pool, n);
    return pool;
}

/* What is resident serves first: free slots, however few lie in a row, then this heap's own empty pools, of other classes.
 * Not those that its last thread left: a thread of the same kind wants them again. */
static struct pool *take_slots(struct heap *heap, unsigned class, bool *ret_zeroed)
{
    struct pool *pool = take_resident(heap, class);
    *ret_zeroed = false;
    if (pool == NULL && heap->spare_pages > heap->inherited) {
        spares_release(heap, NULL);
        pool = take_resident(heap, class);
    }
    return pool != NULL ? pool : slots_take(alloc_class[class].slots, 1, ret_zeroed);
}

/* Arena lock held. */
static struct pool *pool_create(struct heap *heap, unsigned class)
{
    bool fresh;
    struct pool *pool = take_slots(heap, class, &fresh);
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
    if (pool != NULL) {
        ring_append(&heap->current[class], pool, EMPTY_POOL);
        heap->slots += pool->slots;
        heap->grown += pool->slots;
        own_add(heap, pool);
    }
    return pool;
}

/* Before the program hears that memory is out, this heap's own empty pools go back too. */
static struct pool *pool_obtain_at_last(struct heap *heap, unsigned class)
{
    struct pool *pool = pool_obtain(heap, class);
    if (pool != NULL)
        return pool;
    (void)heap_trim(heap, PURGE_ALL);
    return pool_obtain(heap, class);
}

/* From the first pool of the ring that has something. One that has not is passed by the first time, which costs
 * nothing if the program frees into it before its turn comes again, and counts as full the second time. */
static bool ring_search(struct heap *heap, unsigned class)
{
    for (struct pool *pool; (pool = heap->current[class]) != EMPTY_POOL;) {
        bool whole = pool->purged == 0;
        heap_forget_spare(heap, pool);
        if (likely(pool_replenish(pool, &heap->bin[class]))) {
            if (unlikely(!whole && pool->purged == 0))
                own_add(heap, pool);
            pool->passed = false;
            return true;
        }
        if (pool->passed)
            (void)heap_set_full(heap, pool);
        else
            heap->current[class] = pool->next;
        pool->passed = true;
    }
    return false;
}

/* By half of what it is, and by 1 MiB: then too its pages that rest may go. By a quarter, the benchmark's falling
 * peaked at 1.98 instead of 2.01 times glibc's and took 1.5 times as long, as did rising; looking at every 1/32 into the
 * pools whose class rests, rising peaked at 1.89 instead of 2.16 and falling at 1.85, in 10 and 4 times the time. */
static bool has_grown(struct heap *heap)
{
    if (heap->grown < SMALL_HEAP_SLOTS || heap->grown < heap->slots / 2)
        return false;
    heap->grown = 0;
    return true;
}

bool heap_refill(struct heap *heap, unsigned class)
{
    if (likely(ring_search(heap, class)))
        return true;
    if (heap_drain(heap) && ring_search(heap, class))
        return true;
    if (has_grown(heap) || purge_due(heap))
        (void)heap_trim(heap, PURGE_RESTED);
    /* An adopted pool may have been mended down to nothing: hence the loop. */
    while (pool_obtain_at_last(heap, class) != NULL)
        if (ring_search(heap, class))
            return true;
    store_relaxed(&heap->bin[class], NO_LIST(alloc_root_data.secret));
    return false;
}

/* --- trimming ------------------------------------------------------------------------------------------- */

void heap_empty_bin(struct heap *heap, unsigned class)
{
    if (heap->current[class] != EMPTY_POOL)
        pool_retake(heap->current[class], &heap->bin[class]);
    /* The pool, and its chunk, may go now: the end of its list is there. */
    store_relaxed(&heap->bin[class], NO_LIST(alloc_root_data.secret));
}

/* Frees into a pool with purged pages take the slow path. */
static bool pool_trim_pages(struct heap *heap, struct pool *pool, enum purge_what what)
{
    if (!pool_purge_pages(pool, what))
        return false;
    own_remove(heap, pool);
    return true;
}

/* true when pages were returned. Slots are not: they wait for their tick. */
static bool class_trim(struct heap *heap, unsigned class, enum purge_what what)
{
    bool any = false;
    heap_empty_bin(heap, class);
    unsigned left = ring_length(heap->current[class], EMPTY_POOL);
    for (struct pool *pool = heap->current[class], *next; left > 0; left--, pool = next) {
        next = pool->next;
        if (!pool_is_empty(pool)) {
            any |= pool_trim_pages(heap, pool, what);
            continue;
        }
        pool_leave(heap, pool);
        pool_release(pool);
    }
    return any;
}

/* A signal handler may have freed into a full pool while the heap was busy: such a pool is usable again. */
static void full_trim(struct heap *heap)
{
    unsigned left = ring_length(heap->full, NULL);
    for (struct pool *pool = heap->full, *next; left > 0; left--, pool = next) {
        next = pool->next;
        if (!pool->full && remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET))
            heap_relist(heap, pool);
    }
}

bool heap_trim(struct heap *heap, enum purge_what what)
{
    bool any = false;
    (void)heap_drain(heap);
    full_trim(heap);
    state_lock(LOCK_ARENA);
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        any |= class_trim(heap, class, what);
    purge_tick();
    state_unlock(LOCK_ARENA);
    return any;
}
