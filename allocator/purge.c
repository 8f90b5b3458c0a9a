/* SPDX-License-Identifier: MIT */
/* purge.c - see purge.h. */
#include "allocator/purge.h"

#include "allocator/chunk.h"
#include "allocator/heap.h"
#include "allocator/mapping.h"
#include "allocator/nested.h"
#include "allocator/span.h"
#include "allocator/state.h"

/* A decay of 0 returns slots as they become free; heaps are still trimmed only this often. */
#define SHORTEST_TICK_MS 10

/* What becomes free is marked at one tick and returned at the next: two make the decay time. */
static uint64_t tick_length(int64_t decay)
{
    return decay / 2 < SHORTEST_TICK_MS ? SHORTEST_TICK_MS : (uint64_t)decay / 2;
}

/* Then not even the clock is looked at: a small program has no use for its pages. */
static bool nothing_to_do(void)
{
    return alloc_state.dirty_slots == 0 && alloc_state.orphanage.slots == 0 && alloc_state.idle_pages == 0 &&
           alloc_state.stragglers == 0 && !alloc_state.large_seen;
}

/* Both locks held. Spans leave the caches first, so that they age with the slots of this tick. */
static bool purge_locked(bool all)
{
    span_caches_flush();
    bool any = chunks_purge(all);
    return mappings_purge(all) || any;
}

/* A racy read of the next tick's time: one too early or too late is looked at again under the lock, or by the next
 * caller. */
static bool tick_is_due(int64_t decay, uint64_t *ret_now)
{
    if (decay < 0)
        return false;
    *ret_now = platform_now_ms();
    return *ret_now >= load_relaxed(&alloc_state.next_tick_ms);
}

void purge_tick(void)
{
    int64_t decay = load_relaxed(&alloc_state.decay_ms);
    uint64_t now;
    if (nothing_to_do() || !tick_is_due(decay, &now))
        return;
    store_relaxed(&alloc_state.next_tick_ms, now + tick_length(decay));
    orphanage_tend();
    orphanage_purge_pages(PURGE_RESTED);
    idle_heaps_trim(false);
    /* Against the order of locks, hence only tried: whoever has it is purging. */
    if (!state_try_lock(LOCK_PURGE))
        return;
    (void)purge_locked(false);
    state_unlock(LOCK_PURGE);
}

void purge_poll(void)
{
    uint64_t now;
    if (!tick_is_due(load_relaxed(&alloc_state.decay_ms), &now))
        return;
    state_lock(LOCK_ARENA);
    purge_tick();
    state_unlock(LOCK_ARENA);
}

bool purge_all_locked(void)
{
    orphanage_tend();
    orphanage_purge_pages(PURGE_ALL);
    idle_heaps_trim(true);
    state_unlock(LOCK_ARENA);
    /* What another thread is returning at this moment counts as returned. */
    bool waited = !state_try_lock(LOCK_PURGE);
    if (waited)
        state_lock(LOCK_PURGE);
    state_lock(LOCK_ARENA);
    bool any = purge_locked(true);
    state_unlock(LOCK_PURGE);
    return any || waited;
}

bool purge_due(struct heap *heap)
{
    int64_t decay = load_relaxed(&alloc_state.decay_ms);
    if (decay < 0 || heap->events == 0)
        return false;
    uint64_t now = platform_now_ms();
    if (now < heap->trim_at)
        return false;
    bool first = heap->trim_at == 0;
    heap->trim_at = now + tick_length(decay);
    return !first;
}

void alloc_set_decay(int64_t ms)
{
    state_lock(LOCK_PURGE);
    state_lock(LOCK_ARENA);
    store_relaxed(&alloc_state.decay_ms, ms);
    alloc_state.no_spans = ms == 0 ? SPANS_NONE | SPANS_CLOSED : SPANS_NONE;
    store_relaxed(&alloc_state.next_tick_ms, 0);
    if (ms == 0)
        (void)purge_locked(true);
    state_unlock(LOCK_ARENA);
    state_unlock(LOCK_PURGE);
}

bool alloc_purge(void)
{
    struct heap *own = alloc_own_heap;
    bool any = false;
    if (state_holds_lock())
        return false;
    state_start();
    deferred_drain();
    if (own != NULL && own != EXITED_HEAP && !thread_is_nested() && load_relaxed(&own->busy) == 0) {
        heap_enter(own);
        any = heap_trim(own, PURGE_ALL);
        heap_leave(own);
    }
    state_lock(LOCK_SHARED_HEAP);
    any |= heap_trim(&alloc_state.shared, PURGE_ALL);
    state_unlock(LOCK_SHARED_HEAP);
    state_lock(LOCK_ARENA);
    any |= purge_all_locked();
    state_unlock(LOCK_ARENA);
    return any;
}
