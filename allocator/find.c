/* SPDX-License-Identifier: MIT */
/* find.c - see find.h. */
#include "allocator/find.h"

#include "allocator/address_map.h"
#include "allocator/emergency.h"
#include "allocator/fast.h"
#include "allocator/pool.h"
#include "allocator/span.h"

/* --- a chunk -------------------------------------------------------------------------------------------- */

/* A span in a cache, or one whose slots are free by now: whether a block starts there can still be told. */
static enum alloc_status former_span_place(struct pool *span, uintptr_t p, struct place *ret)
{
    if (p != (uintptr_t)slot_memory(span))
        return ALLOC_INTERIOR;
    *ret = (struct place){.kind = PLACE_SPAN, .pool = span};
    return ALLOC_DOUBLE_FREE;
}

/* p lies in a free slot. What the slot was last tells a block's old start from its inside; a slot that never
 * was anything has no blocks, so nothing in it starts one. */
static enum alloc_status free_slot_place(struct pool *slot, uintptr_t p, struct place *ret)
{
    struct pool *first = slot - load_relaxed(&slot->distance);
    if (load_relaxed(&first->state) != SLOT_FREE)
        return ALLOC_DOUBLE_FREE;
    if (first->slots == 0)
        return ALLOC_INTERIOR;
    uintptr_t offset = p - (uintptr_t)slot_memory(first);
    if (first->block_size == 0)
        return former_span_place(first, p, ret);
    return offset % first->block_size == 0 ? ALLOC_DOUBLE_FREE : ALLOC_INTERIOR;
}

static enum alloc_status pool_place(struct pool *pool, uintptr_t p, struct place *ret)
{
    uint32_t index;
    enum alloc_status status = pool_check(pool, p, &index);
    *ret = (struct place){.kind = PLACE_POOL, .pool = pool};
    if (status != ALLOC_INTERIOR) {
        ret->index = index;
        return status;
    }
    uint32_t offset = pool_offset(pool, p);
    ret->index = pool_index(pool, offset);
    if (ret->index >= pool->capacity || offset >= load_relaxed(&pool->carved))
        ret->kind = PLACE_NONE;
    return status;
}

static enum alloc_status slot_place(struct pool *slot, uintptr_t p, struct place *ret)
{
    unsigned state = load_acquire(&slot->state);
    if (state == SLOT_FREE)
        return free_slot_place(slot, p, ret);
    if (state == SLOT_RUN)
        slot -= load_relaxed(&slot->distance);
    state = load_acquire(&slot->state);
    if (state == SLOT_POOL)
        return pool_place(slot, p, ret);
    if (state == SLOT_CACHED)
        return former_span_place(slot, p, ret);
    if (state != SLOT_SPAN)
        return ALLOC_DOUBLE_FREE; /* given back this moment, by a free that ours races with */
    *ret = (struct place){.kind = PLACE_SPAN, .pool = slot};
    return p == (uintptr_t)slot_memory(slot) ? ALLOC_OK : ALLOC_INTERIOR;
}

/* --- all ------------------------------------------------------------------------------------------------ */

static enum alloc_status mapping_place(struct mapping *mapping, uintptr_t p, struct place *ret)
{
    uintptr_t start = load_relaxed(&mapping->start);
    unsigned state = load_acquire(&mapping->state);
    if (p - start >= load_relaxed(&mapping->length) || state == MAPPING_UNUSED)
        return ALLOC_FOREIGN; /* the tail of the last granule is not ours */
    *ret = (struct place){.kind = PLACE_MAPPING, .mapping = mapping};
    if (p != start)
        return ALLOC_INTERIOR;
    return state == MAPPING_LIVE ? ALLOC_OK : ALLOC_DOUBLE_FREE;
}

static enum alloc_status emergency_place(uintptr_t entry, uintptr_t p, struct place *ret)
{
    struct emergency_block *block;
    enum alloc_status status = emergency_find(entry, p, &block);
    if (block != NULL)
        *ret = (struct place){.kind = PLACE_EMERGENCY, .emergency = block};
    return status;
}

enum alloc_status place_find(uintptr_t p, struct place *ret)
{
    uintptr_t entry = map_entry(p);
    ret->kind = PLACE_NONE;
    if (entry == 0)
        return ALLOC_FOREIGN;
    if ((entry & MAP_MAPPING) != 0)
        return mapping_place((struct mapping *)(entry & ~MAP_MAPPING), p, ret);
    if (unlikely((entry & MAP_EMERGENCY) != 0))
        return emergency_place(entry, p, ret);
    struct pool *slot = chunk_descriptor(p);
    if (slot_index(slot) < HEAD_SLOTS)
        return ALLOC_INTERIOR;
    if (slot_index(slot) >= chunk_slots(chunk_of(slot)))
        return ALLOC_FOREIGN; /* the rest of the granule is not ours */
    return slot_place(slot, p, ret);
}

static struct alloc_block pool_place_block(const struct pool *pool, uint32_t index)
{
    return (struct alloc_block){
        .start = pool_block(pool, index),
        .capacity = pool->block_size,
        .ledger = pool->ledger == NULL ? NULL : pool->ledger + (size_t)index * ALLOC_LEDGER_BYTES,
    };
}

struct alloc_block place_block(const struct place *place)
{
    struct mapping *mapping = place->mapping;
    switch (place->kind) {
    case PLACE_POOL:
        return pool_place_block(place->pool, place->index);
    case PLACE_SPAN:
        return (struct alloc_block){slot_memory(place->pool), span_capacity(place->pool),
                                    place->pool->span_ledger};
    case PLACE_MAPPING:
        return (struct alloc_block){(void *)mapping->start, mapping->length, mapping->ledger};
    case PLACE_EMERGENCY:
        return (struct alloc_block){place->emergency + 1, place->emergency->size, NULL};
    default:
        return (struct alloc_block){NULL, 0, NULL};
    }
}

enum alloc_status alloc_find(const void *p, struct alloc_block *ret)
{
    struct place place;
    enum alloc_status status = place_find((uintptr_t)p, &place);
    if (place.kind != PLACE_NONE &&
        (status == ALLOC_OK || status == ALLOC_INTERIOR || status == ALLOC_DOUBLE_FREE))
        *ret = place_block(&place);
    return status;
}

/* Whose table may be read by this thread now: this changes nothing, so it does not matter which fast paths may use it. */
static const struct heap *readable_heap(void)
{
    const struct heap *heap = alloc_heap;
    return likely(heap != SENTINEL_HEAP) ? heap : alloc_ledger_heap;
}

size_t alloc_usable_size(const void *p)
{
    uint64_t list;
    const struct pool *pool = own_pool_of(readable_heap(), p, &list);
    if (likely(pool != NULL))
        return pool->block_size;
    struct alloc_block block = {0};
    return alloc_find(p, &block) == ALLOC_OK ? block.capacity : 0;
}

bool alloc_is_ours(const void *p)
{
    struct place place;
    return place_find((uintptr_t)p, &place) != ALLOC_FOREIGN;
}
