/* SPDX-License-Identifier: MIT */
/* emergency.c - see emergency.h. */
#include "allocator/emergency.h"

#include <string.h>

#include "allocator/address_map.h"
#include "allocator/state.h"

#define UNIT        16u
#define SHARED_MOST (CHUNK_SIZE / 4) /* a larger block gets a region of its own */

static struct emergency_region
    *regions[EMERGENCY_REGIONS]; /* filled from the front, by compare and swap; stay */

static uint64_t word_of(uint32_t live, uint32_t bump)
{
    return (uint64_t)live << 32 | bump;
}

static uint32_t word_live(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static uint32_t word_bump(uint64_t word)
{
    return (uint32_t)word;
}

static void block_mark(struct emergency_block *block, size_t size, enum emergency_state state)
{
    store_relaxed(&block->size, size);
    store_release(&block->check, (uintptr_t)block ^ size ^ alloc_root_data.secret ^ (uint64_t)state);
}

static enum emergency_state block_state(const struct emergency_block *block)
{
    return emergency_state(block, (uintptr_t)block, alloc_root_data.secret);
}

static struct emergency_region *region_of(const struct emergency_block *block)
{
    return (struct emergency_region *)(map_entry((uintptr_t)block) & ~MAP_EMERGENCY);
}

/* --- regions -------------------------------------------------------------------------------------------- */

/* The last 8 GiB of the first leaf there is: chunks grow from the other end of their window, and a leaf that is
 * there need not be made without its lock. Only a wish; the kernel may answer with any place. */
static void *region_hint(void)
{
    for (uintptr_t root = 1; root < 1u << MAP_ROOT_BITS; root++)
        if (load_relaxed(&alloc_map[root]) != NULL)
            return (void *)((root << (MAP_LEAF_BITS + CHUNK_SHIFT)) + ((uintptr_t)24 << 30));
    return NULL;
}

static struct emergency_region *region_create(size_t length, size_t alignment, uint64_t first)
{
    struct emergency_region *region =
        platform_map_near(alignment == CHUNK_SIZE ? region_hint() : NULL, length, alignment);
    if (region == NULL)
        return NULL;
    region->magic = EMERGENCY_MAGIC;
    region->length = length;
    region->first = first;
    if (map_set_lockless((uintptr_t)region, length, (uintptr_t)region | MAP_EMERGENCY))
        return region;
    (void)platform_unmap(region, length);
    return NULL;
}

static void region_destroy(struct emergency_region *region)
{
    size_t length = region->length;
    map_clear((uintptr_t)region, length, (uintptr_t)region | MAP_EMERGENCY);
    /* If the kernel refuses, address space is lost and its memory is not. */
    if (!platform_unmap(region, length))
        (void)platform_purge(region, length);
}

static struct emergency_region *region_shared(unsigned i)
{
    struct emergency_region *none = NULL, *region = load_acquire(&regions[i]);
    if (region != NULL)
        return region;
    region = region_create(CHUNK_SIZE, CHUNK_SIZE, sizeof *region);
    if (region == NULL || cas_acq_rel(&regions[i], &none, region))
        return region;
    region_destroy(region);
    return none;
}

/* --- allocating ----------------------------------------------------------------------------------------- */

/* `size` bytes from the region, header not included, `units` reserved for both; NULL: it is full. */
static void *region_take(struct emergency_region *region, size_t size, size_t alignment)
{
    size_t spare = alignment > UNIT ? alignment - UNIT : 0;
    uint32_t units = (uint32_t)((sizeof(struct emergency_block) + size + spare) / UNIT);
    uint32_t limit = (uint32_t)((region->length - region->first) / UNIT);
    uint64_t word = load_relaxed(&region->word);
    do {
        if (limit - word_bump(word) < units)
            return NULL;
    } while (!cas_weak_acq_rel(&region->word, &word, word_of(word_live(word) + 1, word_bump(word) + units)));
    uintptr_t start = (uintptr_t)region + region->first + (uintptr_t)word_bump(word) * UNIT;
    uintptr_t end = start + (uintptr_t)units * UNIT;
    uintptr_t p = (start + sizeof(struct emergency_block) + alignment - 1) & ~(uintptr_t)(alignment - 1);
    struct emergency_block *block = (struct emergency_block *)p - 1, *gap = (struct emergency_block *)start;
    if (gap != block)
        block_mark(gap, (size_t)((uintptr_t)block - start) - sizeof *gap, EMERGENCY_FREED);
    block_mark(block, end - p, EMERGENCY_LIVE);
    return (void *)p;
}

static void *take_alone(size_t size, size_t alignment)
{
    size_t lead = alignment < PLATFORM_PAGE ? PLATFORM_PAGE : alignment;
    if (size > PTRDIFF_MAX - lead)
        return NULL;
    size_t length = (lead + size + PLATFORM_PAGE - 1) & ~(size_t)(PLATFORM_PAGE - 1);
    struct emergency_region *region = region_create(length, alignment < CHUNK_SIZE ? CHUNK_SIZE : alignment,
                                                    lead - sizeof(struct emergency_block));
    if (region == NULL)
        return NULL;
    region->alone = true;
    store_relaxed(&region->word, word_of(1, 1));
    struct emergency_block *block = (struct emergency_block *)((uintptr_t)region + region->first);
    block_mark(block, length - lead, EMERGENCY_LIVE);
    return block + 1;
}

void *emergency_alloc(size_t size, size_t alignment, bool zeroed)
{
    void *p = NULL;
    bool alone = size > SHARED_MOST || alignment > SHARED_MOST;
    state_start();
    size = size == 0 ? UNIT : (size + UNIT - 1) & ~(size_t)(UNIT - 1);
    alignment = alignment < UNIT ? UNIT : alignment;
    for (unsigned i = 0; !alone && p == NULL && i < EMERGENCY_REGIONS; i++) {
        struct emergency_region *region = region_shared(i);
        if (region == NULL)
            break;
        p = region_take(region, size, alignment);
        if (p != NULL && zeroed)
            memset(p, 0, size);
    }
    return p != NULL ? p : take_alone(size, alignment);
}

/* --- finding -------------------------------------------------------------------------------------------- */

/* The header at or after `at`: reserved places whose header is not written yet are stepped over. */
static uintptr_t header_from(uintptr_t at, uintptr_t end)
{
    while (at < end && block_state((struct emergency_block *)at) == EMERGENCY_NONE)
        at += UNIT;
    return at;
}

static uintptr_t region_end(const struct emergency_region *region)
{
    return (uintptr_t)region + region->first + (uintptr_t)word_bump(load_acquire(&region->word)) * UNIT;
}

/* The block p lies in, or NULL. */
static struct emergency_block *block_around(struct emergency_region *region, uintptr_t p)
{
    uintptr_t end = region_end(region), at = header_from((uintptr_t)region + region->first, end);
    while (at < end) {
        struct emergency_block *block = (struct emergency_block *)at;
        uintptr_t next = at + sizeof *block + block->size;
        if (p < next)
            return p >= at + sizeof *block ? block : NULL;
        at = header_from(next, end);
    }
    return NULL;
}

enum alloc_status emergency_find(uintptr_t entry, uintptr_t p, struct emergency_block **ret_block)
{
    struct emergency_region *region = (struct emergency_region *)(entry & ~MAP_EMERGENCY);
    uintptr_t offset = p - (uintptr_t)region;
    *ret_block = NULL;
    if (offset >= region->length)
        return ALLOC_FOREIGN; /* the tail of the last granule is not ours */
    if (offset >= region->first + sizeof **ret_block && offset % UNIT == 0) {
        struct emergency_block *block = (struct emergency_block *)p - 1;
        enum emergency_state state = block_state(block);
        if (state != EMERGENCY_NONE) {
            *ret_block = block;
            return state == EMERGENCY_LIVE ? ALLOC_OK : ALLOC_DOUBLE_FREE;
        }
    }
    *ret_block = block_around(region, p);
    return ALLOC_INTERIOR;
}

/* --- freeing -------------------------------------------------------------------------------------------- */

enum alloc_status emergency_free(struct emergency_block *block)
{
    struct emergency_region *region = region_of(block);
    uint64_t live = (uintptr_t)block ^ block->size ^ alloc_root_data.secret ^ EMERGENCY_LIVE;
    /* Of two frees at once one is first; the other one is wrong. */
    if (!cas_acq_rel(&block->check, &live, live ^ EMERGENCY_LIVE ^ EMERGENCY_FREED))
        return ALLOC_DOUBLE_FREE;
    if (region->alone) {
        region_destroy(region);
        return ALLOC_OK;
    }
    uint64_t word = load_relaxed(&region->word), counted;
    do {
        bool last = word_live(word) == 1;
        counted = last ? 0 : word_of(word_live(word) - 1, word_bump(word));
    } while (!cas_weak_acq_rel(&region->word, &word, counted));
    return ALLOC_OK;
}

uint64_t emergency_live(const struct emergency_region *region)
{
    return word_live(load_relaxed(&region->word));
}
