/* SPDX-License-Identifier: MIT */
/* coarse.c - see coarse.h. */
#include "allocator/coarse.h"

#include "allocator/class.h"
#include "allocator/pool.h"
#include "allocator/state.h"

#define COARSE_BYTES SLOT_SIZE

static unsigned power_of_two(unsigned class)
{
    size_t power = alloc_class[0].size;
    while (power < alloc_class[class].size)
        power *= 2;
    return class_of(power);
}

void coarse_begin(struct heap *heap)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++)
        heap->class_now[class] = (uint8_t)(heap->current[class] == EMPTY_POOL ? power_of_two(class) : class);
    for (unsigned i = 0; i < STEP_16_COUNT; i++)
        heap->class_of_16[i] = heap->class_now[alloc_class_of_16[i]];
    heap->coarse_begun = 0;
}

/* Its pool may be full, and off the ring, or gone: then it has had its turn. The classes that serve others have the
 * numbers 1, 3, 7, 15, 23 .. 71: half of that tells them apart. */
static bool begins(struct heap *heap, unsigned coarse)
{
    uint64_t bit = (uint64_t)1 << coarse / 2;
    bool begun = (heap->coarse_begun & bit) != 0;
    heap->coarse_begun |= bit;
    return !begun;
}

static bool has_room(struct heap *heap, unsigned coarse)
{
    const struct pool *pool = heap->current[coarse];
    if (pool == EMPTY_POOL)
        return begins(heap, coarse);
    return pool->carved < COARSE_BYTES || list_first(heap->bin[coarse], heap->secret) != NULL ||
           list_first(pool->free_list, heap->secret) != NULL;
}

unsigned coarse_class(struct heap *heap, unsigned class)
{
    unsigned now = heap->class_now[class];
    if (now == class || has_room(heap, now))
        return now;
    heap->class_now[class] = (uint8_t) class;
    if (alloc_class[class].size <= STEP_16_MAX)
        for (unsigned i = alloc_class[class].size >> 4; alloc_class_of_16[i] == class; i--)
            heap->class_of_16[i] = (uint8_t) class;
    return class;
}
