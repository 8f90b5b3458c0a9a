/* SPDX-License-Identifier: MIT */
/* purge.c - see purge.h. */
#include "allocator/purge.h"

#include "allocator/chunk.h"
#include "allocator/heap.h"
#include "allocator/mapping.h"
#include "allocator/nested.h"
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
           alloc_state.stragglers == 0;
}

void purge_tick(void)
{
    int64_t decay = load_relaxed(&alloc_state.decay_ms);
    if (decay < 0 || nothing_to_do())
        return;
    uint64_t now = platform_now_ms();
    if (now < alloc_state.next_tick_ms)
        return;
    alloc_state.next_tick_ms = now + tick_length(decay);
    orphanage_tend();
    orphanage_purge_pages(PURGE_RESTED);
    idle_heaps_trim(false);
    if (alloc_state.dirty_slots != 0)
        (void)chunks_purge(false);
}

bool purge_all_locked(void)
{
    orphanage_tend();
    orphanage_purge_pages(PURGE_ALL);
    idle_heaps_trim(true);
    bool any = chunks_purge(true);
    return mappings_retry_unmap() || any;
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
    state_lock(LOCK_ARENA);
    store_relaxed(&alloc_state.decay_ms, ms);
    alloc_state.next_tick_ms = 0;
    if (ms == 0)
        (void)chunks_purge(true);
    state_unlock(LOCK_ARENA);
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
