/* SPDX-License-Identifier: MIT */
#include "allocator/vanished.h"

#include "allocator/heap.h"
#include "allocator/platform.h"
#include "allocator/state.h"

#define HEAPS_FIRST 16u /* fewer are not worth a look */

static uint32_t look_at = HEAPS_FIRST; /* so many heaps in use, and the next thread looks. arena */

/* The process's first heap is most often its only one, and not worth what claims need. */
uint32_t vanished_claim(void)
{
    bool is_first = alloc_state.all_heaps == NULL || alloc_state.all_heaps->next_all == NULL;
    uint32_t claim = is_first ? 0 : platform_thread_claim();
    return claim != 0 ? claim : VANISHED_UNKNOWN;
}

static uint32_t heaps_in_use(void)
{
    uint32_t count = 0;
    for (const struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all)
        count += heap->attached != 0;
    return count;
}

static bool has_vanished(const struct heap *heap)
{
    return heap->attached > VANISHED_UNKNOWN && load_relaxed(&heap->busy) == 0 &&
           platform_thread_is_gone(heap->attached);
}

bool vanished_collect(void)
{
    uint32_t in_use = heaps_in_use(), found = 0;
    if (in_use < look_at)
        return false;
    for (struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all) {
        if (!has_vanished(heap))
            continue;
        heap_retire(heap);
        found++;
    }
    look_at = 2 * (in_use - found);
    look_at = look_at < HEAPS_FIRST ? HEAPS_FIRST : look_at;
    return found != 0;
}
