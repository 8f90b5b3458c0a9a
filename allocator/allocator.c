/* SPDX-License-Identifier: MIT */
/* allocator.c - the slow paths of allocator.h: who serves a request, and what is done to the block. */
#include "allocator/allocator.h"

#include <string.h>

#include "allocator/address_map.h"
#include "allocator/class.h"
#include "allocator/coarse.h"
#include "allocator/fast.h"
#include "allocator/find.h"
#include "allocator/emergency.h"
#include "allocator/heap.h"
#include "allocator/mapping.h"
#include "allocator/nested.h"
#include "allocator/pool.h"
#include "allocator/purge.h"
#include "allocator/remote.h"
#include "allocator/span.h"
#include "allocator/state.h"

#define ALIGNMENT_MAX      ((size_t)1 << 30)
#define POOL_ALIGNMENT_MAX ((size_t)4096)

/* --- which heap ----------------------------------------------------------------------------------------- */

static bool fast_paths_miss(void)
{
    return alloc_state.intercept || alloc_state.keep_ledger || alloc_thread.no_fast;
}

/* Which fast paths may use the thread's own heap, if it has one. */
static void fast_paths_update(void)
{
    struct heap *heap = alloc_own_heap;
    bool none = heap == NULL || heap == EXITED_HEAP;
    alloc_heap = none || fast_paths_miss() ? SENTINEL_HEAP : heap;
    alloc_ledger_heap = none || alloc_thread.no_fast || !alloc_state.keep_ledger ? SENTINEL_HEAP : heap;
}

__attribute__((noinline)) static struct heap *attach_this_thread(void)
{
    state_start();
    alloc_thread.attaching = true;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    struct heap *heap = heap_attach();
    if (heap != NULL) {
        alloc_own_heap = heap;
        fast_paths_update();
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    alloc_thread.attaching = false;
    return heap;
}

/* The thread's own heap, or NULL when it has ended, is interrupted, or there is no memory for one. */
static struct heap *own_heap(void)
{
    if (thread_is_nested() || state_holds_lock())
        return NULL;
    struct heap *heap = alloc_own_heap;
    if (unlikely(heap == NULL))
        return attach_this_thread();
    return heap == EXITED_HEAP ? NULL : heap;
}

/* --- small ---------------------------------------------------------------------------------------------- */

static void block_prepare(struct pool *pool, void *p, bool zeroed)
{
    if (pool->ledger != NULL) {
        uint32_t index = pool_index(pool, pool_offset(pool, (uintptr_t)p));
        memset(pool->ledger + (size_t)index * ALLOC_LEDGER_BYTES, 0, ALLOC_LEDGER_BYTES);
    }
    if (zeroed)
        memset(p, 0, pool->list_is_zero ? sizeof(struct free_block) : pool->block_size);
}

/* The bin is not empty, but what it leads to was written over. */
static void bin_drop(struct heap *heap, unsigned class)
{
    const void *block = list_first(heap->bin[class], heap->secret);
    store_relaxed(&heap->bin[class], list_end(heap->current[class], heap->secret));
    state_report_corruption(block);
}

static void *heap_take(struct heap *heap, unsigned class, bool zeroed)
{
    for (;;) {
        void *p = bin_pop(heap, class);
        if (likely(p != NULL)) {
            block_prepare(heap->current[class], p, zeroed);
            return p;
        }
        if (unlikely(list_first(heap->bin[class], heap->secret) != NULL))
            bin_drop(heap, class);
        if (!heap_refill(heap, class))
            return NULL;
    }
}

/* Blocks of a class are aligned to what divides its size (class_of_aligned). */
static void *emergency_take(unsigned class, bool zeroed)
{
    size_t size = alloc_class[class].size, alignment = size & -size;
    return emergency_alloc(size, alignment < POOL_ALIGNMENT_MAX ? alignment : POOL_ALIGNMENT_MAX, zeroed);
}

/* For threads that have ended, and signal handlers that interrupted the allocator in their own thread. */
__attribute__((noinline)) static void *shared_take(unsigned class, bool zeroed)
{
    if (state_holds_lock())
        return emergency_take(class, zeroed);
    state_start();
    state_lock(LOCK_SHARED_HEAP);
    if (unlikely(alloc_state.shared.bin[class] == 0))
        store_relaxed(&alloc_state.shared.bin[class], NO_LIST(alloc_root_data.secret));
    void *p = heap_take(&alloc_state.shared, class, zeroed);
    state_unlock(LOCK_SHARED_HEAP);
    return p;
}

/* `exact`: of this very class, for an alignment. */
static void *small_alloc(unsigned class, bool exact, bool zeroed)
{
    struct heap *heap = own_heap();
    if (unlikely(heap == NULL || load_relaxed(&heap->busy) != 0))
        return shared_take(class, zeroed);
    deferred_drain();
    heap_enter(heap);
    void *p = heap_take(heap, exact ? class : coarse_class(heap, class), zeroed);
    heap_leave(heap);
    return p;
}

/* --- large ---------------------------------------------------------------------------------------------- */

static void *large_obtain(struct heap *heap, size_t size, size_t alignment, size_t *ret_dirty)
{
    bool zeroed;
    if (size <= SPAN_SIZE_MAX && alignment <= SPAN_SIZE_MAX) {
        void *p = span_alloc(heap, size, alignment, &zeroed);
        if (p != NULL) {
            *ret_dirty = zeroed ? 0 : size;
            return p;
        }
    }
    /* A span needs a chunk; where there is no room for one, a mapping of just its size may still do. */
    return mapping_alloc(size, alignment, ret_dirty);
}

typedef uint64_t __attribute__((may_alias)) any_word;

static bool page_is_zero(const any_word *word)
{
    for (size_t i = 0; i < PLATFORM_PAGE / sizeof *word; i += 8)
        if ((word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] | word[i + 5] | word[i + 6] |
             word[i + 7]) != 0)
            return false;
    return true;
}

/* Whole pages, which are read first. What of a large block was never written to is not resident, and reading does not make
 * it so: the kernel shows its page of zeros. The benchmark's calloc-large, which writes to a quarter of each block, takes
 * 1.13 instead of 1.22 times glibc's memory so, in the same time, 0.75 and 0.73 of glibc's. (Giving the pages back instead:
 * 0.39 times its memory from 64 KiB on, 0.99 from 768 KiB on, in 2.8 and 2.3 times its time.) */
static void zero_by_page(unsigned char *p, size_t size)
{
    for (size_t at = 0; at < size; at += PLATFORM_PAGE)
        if (!page_is_zero((const any_word *)(p + at)))
            memset(p + at, 0, PLATFORM_PAGE);
}

static void *large_alloc(size_t size, size_t alignment, bool zeroed)
{
    size_t dirty = 0;
    if (state_holds_lock())
        return emergency_alloc(size, alignment, zeroed);
    state_start();
    deferred_drain();
    struct heap *heap = thread_is_nested() ? NULL : own_heap();
    void *p = large_obtain(heap, size, alignment, &dirty);
    if (p == NULL && alloc_purge())
        p = large_obtain(heap, size, alignment, &dirty);
    if (p != NULL && zeroed && dirty != 0)
        zero_by_page(p, dirty < size ? dirty : size);
    return p;
}

/* --- allocating ----------------------------------------------------------------------------------------- */

/* The first pool of the ring, or the second, if blocks were freed into it. The sentinel heap has no ring. */
ALLOC_INSIDE struct pool *pool_with_freed(const struct heap *heap, unsigned class)
{
    struct pool *pool = heap->current[class];
    if (unlikely(pool == NULL))
        return NULL;
    if (likely(list_first(pool->free_list, heap->secret) != NULL))
        return pool;
    pool = pool->next;
    return pool != NULL && list_first(pool->free_list, heap->secret) != NULL ? pool : NULL;
}

/* Most often what the bin lacks is what was freed into the same pool, or the next. */
ALLOC_INSIDE void *class_next(struct heap *heap, unsigned class)
{
    uint64_t *bin = &heap->bin[class];
    if (list_first(*bin, heap->secret) != NULL)
        return bin_pop(heap, class);
    struct pool *pool = pool_with_freed(heap, class);
    if (pool == NULL)
        return NULL;
    heap_enter(heap);
    heap->current[class] = pool;
    heap_forget_spare(heap, pool);
    pool_move_list(pool, bin);
    heap_leave(heap);
    return bin_pop(heap, class);
}

ALLOC_FAST void *alloc_malloc_next(size_t size)
{
    struct heap *heap = alloc_heap;
    if (unlikely(size > POOL_SIZE_MAX))
        return size > SPAN_SIZE_MAX ? NULL : span_cache_take(heap, span_slots_for(size));
    return class_next(heap, heap->class_now[class_of(size)]);
}

void *alloc_malloc(size_t size)
{
    if (likely(size <= POOL_SIZE_MAX))
        return small_alloc(class_of(size), false, false);
    return size > PTRDIFF_MAX ? NULL : large_alloc(size, 1, false);
}

void *alloc_malloc_zeroed(size_t size)
{
    if (likely(size <= POOL_SIZE_MAX))
        return small_alloc(class_of(size), false, true);
    return size > PTRDIFF_MAX ? NULL : large_alloc(size, 1, true);
}

/* Blocks of a class whose size is a multiple of the alignment are aligned, as pools start on a slot. */
static bool class_of_aligned(size_t alignment, size_t size, unsigned *ret_class)
{
    size_t rounded = (size + alignment - 1) & ~(alignment - 1);
    if (alignment > POOL_ALIGNMENT_MAX || rounded > POOL_SIZE_MAX)
        return false;
    for (unsigned class = class_of(rounded); class < CLASS_COUNT; class ++) {
        if ((alloc_class[class].size & (alignment - 1)) == 0) {
            *ret_class = class;
            return true;
        }
    }
    return false;
}

ALLOC_FAST_SELDOM void *alloc_aligned_next(size_t alignment, size_t size)
{
    unsigned class;
    if (unlikely(size > POOL_SIZE_MAX || !class_of_aligned(alignment, size, &class)))
        return NULL;
    return class_next(alloc_heap, class);
}

void *alloc_malloc_aligned(size_t alignment, size_t size)
{
    unsigned class;
    if (size > PTRDIFF_MAX || alignment > ALIGNMENT_MAX)
        return NULL;
    size = size == 0 ? 1 : size;
    if (alignment <= 16)
        return alloc_malloc(size);
    if (class_of_aligned(alignment, size, &class))
        return small_alloc(class, true, false);
    return large_alloc(size, alignment, false);
}

/* --- freeing -------------------------------------------------------------------------------------------- */

static bool pool_is_own(const struct pool *pool, const struct heap *heap)
{
    return heap != NULL && heap != EXITED_HEAP && !thread_is_nested() && !state_holds_lock() &&
           (load_relaxed(&pool->owner) & ~POOL_UNLISTED) == (uintptr_t)heap && load_relaxed(&heap->busy) == 0;
}

static enum alloc_status small_free(struct pool *pool, void *p)
{
    struct heap *heap = alloc_own_heap;
    if (!pool_is_own(pool, heap))
        return remote_push(pool, p) ? ALLOC_OK : ALLOC_CORRUPT;
    heap_enter(heap);
    heap_free(heap, pool, p);
    heap_leave(heap);
    return ALLOC_OK;
}

/* The caller's heap with its cache of spans, or NULL: a free gives nobody a heap. */
static struct heap *heap_for_spans(void)
{
    struct heap *heap = alloc_own_heap;
    return heap == EXITED_HEAP || thread_is_nested() ? NULL : heap;
}

static enum alloc_status large_free(const struct place *place, void *p)
{
    if (place->kind == PLACE_EMERGENCY)
        return emergency_free(place->emergency);
    if (state_holds_lock()) {
        deferred_push(p);
        return ALLOC_OK;
    }
    deferred_drain();
    return place->kind == PLACE_SPAN ? span_free(heap_for_spans(), place->pool)
                                     : mapping_free(place->mapping, p);
}

/* To its remote list, if it is a live block by all it takes one look to see. A slot past the end of a chunk that was
 * mapped in part is free. */
bool alloc_free_remote(void *block, uintptr_t entry)
{
    uintptr_t p = (uintptr_t)block;
    if (entry == 0 || entry != chunk_base(p) || p - entry < HEAD_SLOTS << SLOT_SHIFT)
        return false;
    struct pool *pool = chunk_descriptor(p);
    pool -= load_relaxed(&pool->distance);
    if (load_acquire(&pool->state) != SLOT_POOL)
        return false;
    uintptr_t offset = p - pool->start, owner = load_relaxed(&pool->owner) & ~POOL_UNLISTED;
    if (fast_paths_miss() || offset >= load_relaxed(&pool->carved) ||
        offset * pool->divisor > pool->remainder || load_relaxed(&pool->purged) != 0 ||
        owner == (uintptr_t)alloc_own_heap)
        return false;
    return !free_block_seems(block, alloc_root_data.secret) && remote_push(pool, block);
}

enum alloc_status alloc_free(void *p)
{
    struct place place;
    enum alloc_status status = place_find((uintptr_t)p, &place);
    if (unlikely(status != ALLOC_OK))
        return status;
    if (likely(place.kind == PLACE_POOL))
        return small_free(place.pool, p);
    return large_free(&place, p);
}

/* --- realloc -------------------------------------------------------------------------------------------- */

/* The block without moving its bytes by hand, or NULL. */
static void *resize_in_place(const struct place *place, void *p, size_t size)
{
    if (state_holds_lock())
        return NULL;
    if (place->kind == PLACE_SPAN && size > POOL_SIZE_MAX && size <= SPAN_SIZE_MAX &&
        span_resize(place->pool, size))
        return p;
    if (place->kind == PLACE_MAPPING && size > SPAN_SIZE_MAX)
        return mapping_resize(place->mapping, size);
    return NULL;
}

/* A span stays one. */
static size_t size_to_grow(size_t size, size_t capacity)
{
    size_t roomy = alloc_size_to_grow(size, capacity);
    return size <= SPAN_SIZE_MAX && roomy > SPAN_SIZE_MAX ? SPAN_SIZE_MAX : roomy;
}

static void *realloc_by_copy(void *p, size_t size, size_t capacity)
{
    void *copy = alloc_malloc(size_to_grow(size, capacity));
    if (copy == NULL)
        copy = alloc_malloc(size);
    if (copy == NULL)
        return NULL;
    memcpy(copy, p, size < capacity ? size : capacity);
    (void)alloc_free(p);
    return copy;
}

enum alloc_status alloc_realloc(void *p, size_t size, void **ret_block)
{
    struct place place;
    enum alloc_status status = place_find((uintptr_t)p, &place);
    if (status != ALLOC_OK)
        return status;
    size_t capacity = place_block(&place).capacity;
    *ret_block = NULL;
    if (size > PTRDIFF_MAX)
        return ALLOC_OK;
    if ((place.kind == PLACE_POOL || place.kind == PLACE_EMERGENCY) && alloc_fits_well(size, capacity)) {
        *ret_block = p;
        return ALLOC_OK;
    }
    *ret_block = resize_in_place(&place, p, size);
    if (*ret_block == NULL)
        *ret_block = realloc_by_copy(p, size, capacity);
    /* A smaller block that could not be had is no reason to fail: the old one holds it. */
    if (*ret_block == NULL && size <= capacity)
        *ret_block = p;
    return ALLOC_OK;
}

/* --- modes, threads ------------------------------------------------------------------------------------- */

void alloc_thread_fast(bool on)
{
    alloc_thread.no_fast = !on;
    if (!thread_is_nested())
        fast_paths_update();
}

void alloc_intercept(bool on)
{
    alloc_state.intercept = on;
    fast_paths_update();
}

/* Pools from before have no ledger: their owners let go of them, and nobody adopts them again. */
void alloc_keep_ledger(void)
{
    struct heap *heap = alloc_own_heap;
    state_start();
    state_lock(LOCK_SHARED_HEAP);
    state_lock(LOCK_ARENA);
    alloc_state.keep_ledger = true;
    if (heap != NULL && heap != EXITED_HEAP)
        (void)heap_abandon(heap, true);
    (void)heap_abandon(&alloc_state.shared, true);
    state_unlock(LOCK_ARENA);
    state_unlock(LOCK_SHARED_HEAP);
    fast_paths_update();
}

void alloc_thread_exit(void)
{
    struct heap *heap = alloc_own_heap;
    alloc_own_heap = EXITED_HEAP;
    alloc_heap = alloc_ledger_heap = SENTINEL_HEAP;
    if (heap == NULL || heap == EXITED_HEAP)
        return;
    /* Cancelled, or ended by a handler, in the middle of the allocator. With a lock held besides there is no
     * giving the heap back. */
    if (thread_is_nested() || load_relaxed(&heap->busy) != 0 || span_cache_is_held(&heap->spans)) {
        if (!state_holds_lock())
            heap_lose(heap);
        return;
    }
    span_cache_empty(heap);
    heap_detach(heap);
    purge_poll();
}
