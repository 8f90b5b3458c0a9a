/* SPDX-License-Identifier: MIT */
#include "tracer/image/finder.h"

#include <stdlib.h>
#include <string.h>

#define ADDRESS_BITS (FINDER_GRANULE_BITS + FINDER_LEAF_BITS + FINDER_TOP_BITS)
#define STRIDE_MAX                                                                                           \
    ((uint64_t)1 << 20) /* offsets in a run stay below 2^32, where the multiplication is exact */
#define RUN_MAX ((uint64_t)1 << 31)

/* One more element of `size` bytes: the array, moved if need be; NULL when memory is out. */
static void *room_for_one(void *array, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    uint32_t grown = *capacity ? *capacity * 2 : 64;
    void *moved = grown > *capacity ? realloc(array, grown * size) : NULL;
    if (moved)
        *capacity = grown;
    return moved;
}

static bool add_run(struct finder *finder, const struct finder_run *run)
{
    struct finder_run *runs =
        room_for_one(finder->runs, finder->run_count, &finder->run_capacity, sizeof(*runs));
    if (!runs)
        return false;
    finder->runs = runs;
    runs[finder->run_count++] = *run;
    return true;
}

static uint32_t *leaf_entry(struct finder *finder, uint64_t granule_number)
{
    uint32_t **leaf = &finder->top[granule_number >> FINDER_LEAF_BITS];
    if (!*leaf)
        *leaf = calloc((size_t)1 << FINDER_LEAF_BITS, sizeof(**leaf));
    return *leaf ? &(*leaf)[granule_number & ((1u << FINDER_LEAF_BITS) - 1)] : NULL;
}

/* The granule behind a leaf's entry, made if there is none yet; a run that filled it fills its slots. */
static struct finder_granule *granule_of(struct finder *finder, uint32_t *entry)
{
    if (*entry && !(*entry & FINDER_WHOLE))
        return &finder->granules[*entry - 1];
    struct finder_granule *granules =
        room_for_one(finder->granules, finder->granule_count, &finder->granule_capacity, sizeof(*granules));
    if (!granules)
        return NULL;
    finder->granules = granules;
    struct finder_granule *granule = &granules[finder->granule_count++];
    for (unsigned i = 0; i < FINDER_SLOTS; i++)
        granule->slots[i] = *entry ? (*entry & ~FINDER_WHOLE) + 1 : 0;
    *entry = finder->granule_count;
    return granule;
}

/* Let the slots of [run.base, run.base + run.reach) lead to run `number`. */
static bool mark_run(struct finder *finder, uint32_t number)
{
    const struct finder_run run = finder->runs[number];
    uint64_t first = run.base >> FINDER_SLOT_BITS, last = (run.base + run.reach - 1) >> FINDER_SLOT_BITS;
    for (uint64_t slot = first; slot <= last;) {
        uint64_t next = (slot | (FINDER_SLOTS - 1)) + 1;
        uint32_t *entry = leaf_entry(finder, slot / FINDER_SLOTS);
        if (!entry)
            return false;
        if (slot % FINDER_SLOTS == 0 && next - 1 <= last && *entry == 0) {
            *entry = FINDER_WHOLE | number;
            slot = next;
            continue;
        }
        struct finder_granule *granule = granule_of(finder, entry);
        if (!granule)
            return false;
        for (; slot < next && slot <= last; slot++) {
            uint32_t *there = &granule->slots[slot % FINDER_SLOTS];
            *there = *there ? FINDER_MIXED : number + 1;
        }
    }
    return true;
}

static bool is_regular(const struct image_block *block, uint64_t pool, uint64_t stride)
{
    return block->capacity == stride && block->addr >= pool && (block->addr - pool) % stride == 0 &&
           block->addr - pool < RUN_MAX;
}

/* Blocks from `i` on that make one evenly spaced run; 1 when block i stands alone. */
static uint32_t run_length(const struct image_block *blocks, const uint64_t *pools, uint32_t i,
                           uint32_t count)
{
    uint64_t stride = blocks[i].capacity;
    if (stride < 2 || stride > STRIDE_MAX || !is_regular(&blocks[i], pools[i], stride))
        return 1;
    uint32_t end = i + 1;
    while (end < count && pools[end] == pools[i] && blocks[end].addr > blocks[end - 1].addr &&
           is_regular(&blocks[end], pools[i], stride))
        end++;
    return end - i;
}

static bool reserve_places(struct finder *finder, size_t more)
{
    size_t wanted = finder->place_count + more;
    if (wanted > UINT32_MAX)
        return false;
    if (wanted > finder->place_capacity) {
        size_t capacity = finder->place_capacity * 2 > wanted ? finder->place_capacity * 2 : wanted + 1024;
        uint32_t *grown = realloc(finder->places, capacity * sizeof(*grown));
        if (!grown)
            return false;
        finder->places = grown;
        finder->place_capacity = capacity;
    }
    memset(finder->places + finder->place_count, 0, more * sizeof(*finder->places));
    return true;
}

static bool add_even_run(struct finder *finder, uint32_t first, uint32_t length, uint64_t pool)
{
    const struct image_block *blocks = finder->blocks;
    uint64_t stride = blocks[first].capacity;
    uint64_t reach = blocks[first + length - 1].addr + stride - pool;
    size_t places = (size_t)(reach / stride);
    if (!reserve_places(finder, places))
        return false;
    struct finder_run run = {pool, reach, UINT64_MAX / stride + 1, (uint32_t)stride,
                             (uint32_t)finder->place_count};
    for (uint32_t i = first; i < first + length; i++)
        finder->places[finder->place_count + (size_t)((blocks[i].addr - pool) / stride)] = i + 1;
    finder->place_count += places;
    return add_run(finder, &run);
}

bool finder_build(struct finder *finder, const struct image_block *blocks, const uint64_t *pools,
                  uint32_t count)
{
    memset(finder, 0, sizeof(*finder));
    finder->blocks = blocks;
    while (count && blocks[count - 1].addr + blocks[count - 1].capacity > (uint64_t)1 << ADDRESS_BITS)
        count--;
    finder->count = count;
    if (count) {
        finder->low = blocks[0].addr;
        finder->span = blocks[count - 1].addr + blocks[count - 1].capacity - finder->low;
    }
    bool done = true;
    for (uint32_t i = 0, length; done && i < count; i += length) {
        length = run_length(blocks, pools, i, count);
        struct finder_run alone = {blocks[i].addr, blocks[i].capacity, 0, 0, i};
        if (length == 1 && blocks[i].capacity == 0)
            continue;
        done = (length == 1 ? add_run(finder, &alone) : add_even_run(finder, i, length, pools[i])) &&
               mark_run(finder, finder->run_count - 1);
    }
    if (!done)
        finder_free(finder);
    return done;
}

void finder_free(struct finder *finder)
{
    for (size_t i = 0; i < sizeof(finder->top) / sizeof(finder->top[0]); i++)
        free(finder->top[i]);
    free(finder->runs);
    free(finder->granules);
    free(finder->places);
    memset(finder, 0, sizeof(*finder));
}

uint32_t finder_bisect(const struct finder *finder, uint64_t value, uint64_t *ret_offset)
{
    uint32_t low = 0, high = finder->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (finder->blocks[middle].addr <= value)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || value - finder->blocks[low - 1].addr >= finder->blocks[low - 1].capacity)
        return FINDER_NONE;
    *ret_offset = value - finder->blocks[low - 1].addr;
    return low - 1;
}
