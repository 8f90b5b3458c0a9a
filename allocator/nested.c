/* SPDX-License-Identifier: MIT */
/* nested.c - see nested.h, and "signal handlers" in allocator.h. */
#include "allocator/nested.h"

#include <string.h>

#include "allocator/fast.h"
#include "allocator/heap.h"
#include "allocator/own.h"
#include "allocator/pool_ring.h"
#include "allocator/remote.h"

/* A jump out of a handler goes outward on the thread's stack, by less than this; anything farther is another
 * stack (a handler may switch to one), of which nothing follows. */
#define STACK_MOST ((uintptr_t)64 << 20)

/* --- the bracket ---------------------------------------------------------------------------------------- */

ALLOC_FAST_SELDOM bool alloc_is_interrupted(void)
{
    const struct heap *heap = alloc_own_heap;
    if (alloc_thread.nested != 0 || alloc_thread.attaching || alloc_thread.locks != 0)
        return true;
    return heap != NULL && load_relaxed(&heap->busy) != 0;
}

bool alloc_holds_lock(void)
{
    return state_holds_lock();
}

/* Each step leaves a state that a handler between two of them copes with: the heap goes first, and comes back
 * last. */
ALLOC_FAST_SELDOM void alloc_nested_begin(const struct alloc_stack *stack, struct alloc_nested *ret)
{
    struct alloc_thread_state *thread = &alloc_thread;
    *ret = (struct alloc_nested){alloc_heap, alloc_ledger_heap, {thread->frame, thread->low, thread->high}};
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    alloc_heap = alloc_ledger_heap = SENTINEL_HEAP;
    store_relaxed(&thread->nested, thread->nested + 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread->frame = stack->frame;
    thread->low = stack->low;
    thread->high = stack->high;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (unlikely(thread->locks != 0))
        state_pass_wakes();
}

ALLOC_FAST_SELDOM void alloc_nested_end(const struct alloc_nested *nested)
{
    struct alloc_thread_state *thread = &alloc_thread;
    /* It was ended already: the handler jumped out of another one inside it. */
    if (thread->nested == 0)
        return;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread->frame = nested->outer.frame;
    thread->low = nested->outer.low;
    thread->high = nested->outer.high;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    store_relaxed(&thread->nested, thread->nested - 1);
    alloc_heap = nested->heap;
    alloc_ledger_heap = nested->ledger_heap;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* --- handlers that were left by a jump ------------------------------------------------------------------ */

/* On a stack of its own: no longer on it. On the thread's: farther out than its frames, but not far away. */
static bool handler_was_left(const struct alloc_thread_state *thread, uintptr_t here)
{
    if (thread->low != 0)
        return here < thread->low || here >= thread->high;
    return here > thread->frame && here - thread->frame < STACK_MOST;
}

enum alloc_healing alloc_nested_heal(void)
{
    struct alloc_thread_state *thread = &alloc_thread;
    struct heap *heap = alloc_own_heap;
    /* With handlers in handlers the outer one may still be running; it will end by itself. */
    if (thread->nested != 1 || !handler_was_left(thread, (uintptr_t)__builtin_frame_address(0)))
        return ALLOC_NOT_LEFT;
    if (state_holds_lock_exactly())
        return ALLOC_LEFT_LOCKED;
    thread->locks = 0;
    thread->attaching = false;
    if (heap != NULL && heap != EXITED_HEAP) {
        heap_lose(heap);
        alloc_own_heap = NULL;
    }
    thread->nested = 0;
    return ALLOC_HEALED;
}

/* A pool that somebody is bringing to this heap's pending stack stays until it arrives there, as in
 * heap_detach(). */
static bool pool_lose(struct heap *heap, struct pool *pool)
{
    pool->torn = true;
    pool->next = pool->prev = NULL;
    if (REMOTE_NOTIFY(load_acquire(&pool->remote)) == REMOTE_QUIET ||
        remote_change(pool, REMOTE_WATCHED, REMOTE_QUIET)) {
        orphanage_take(pool);
        return true;
    }
    store_relaxed(&pool->owner, (uintptr_t)heap | POOL_UNLISTED);
    ring_append(&heap->full, pool, NULL);
    return false;
}

static unsigned chunk_lose(struct heap *heap, struct chunk *chunk)
{
    unsigned left = 0;
    for (unsigned slot = HEAD_SLOTS; slot < CHUNK_SLOTS; slot++) {
        struct pool *pool = &chunk->pools[slot];
        if (pool->state == SLOT_POOL && (load_relaxed(&pool->owner) & ~POOL_UNLISTED) == (uintptr_t)heap)
            left += !pool_lose(heap, pool);
    }
    return left;
}

void heap_lose(struct heap *heap)
{
    state_lock(LOCK_ARENA);
    heap_save_bins(heap);
    /* Its lists may be torn: what they have is lost, and the next thread begins with none. */
    if (span_cache_is_held(&heap->spans))
        heap->spans = (struct span_cache){.word = alloc_state.no_spans};
    /* What others are bringing to its pending stack stays there. */
    heap_clear(heap);
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++)
        alloc_state.stragglers += chunk_lose(heap, alloc_state.chunks[i]);
    heap_make_idle(heap);
    state_unlock(LOCK_ARENA);
}

/* --- deferred frees ------------------------------------------------------------------------------------- */

/* The block is free: its first word is ours. The stack is only ever taken whole, so a push needs no protection
 * against ABA. */
void deferred_push(void *p)
{
    void *first = load_relaxed(&alloc_state.deferred);
    do
        memcpy(p, &first, sizeof first);
    while (!cas_weak_acq_rel(&alloc_state.deferred, &first, p));
}

void deferred_free_all(void)
{
    void *p = exchange_acq_rel(&alloc_state.deferred, NULL), *next;
    for (; p != NULL; p = next) {
        memcpy(&next, p, sizeof next);
        (void)alloc_free(p);
    }
}
