/* SPDX-License-Identifier: MIT */
/* mapping.c - see mapping.h. */
#include "allocator/mapping.h"

#include <string.h>

#include "allocator/metadata.h"
#include "allocator/purge.h"
#include "allocator/state.h"

static size_t page_round(size_t size)
{
    return (size + PLATFORM_PAGE - 1) & ~(size_t)(PLATFORM_PAGE - 1);
}

/* --- descriptors, arena lock held ----------------------------------------------------------------------- */

struct mapping *mapping_descriptor_take(void)
{
    struct mapping *mapping = alloc_state.unused_mappings;
    if (mapping != NULL) {
        alloc_state.unused_mappings = mapping->next;
        return mapping;
    }
    mapping = metadata_take(sizeof *mapping);
    if (mapping != NULL)
        memset(mapping, 0, sizeof *mapping);
    return mapping;
}

void mapping_descriptor_give(struct mapping *mapping)
{
    store_release(&mapping->state, MAPPING_UNUSED);
    mapping->next = alloc_state.unused_mappings;
    alloc_state.unused_mappings = mapping;
}

/* Let the address map lead to `mapping`, which describes [start, start + length). */
static bool mapping_publish(struct mapping *mapping, void *start, size_t length)
{
    memset(mapping->ledger, 0, sizeof mapping->ledger);
    store_relaxed(&mapping->start, (uintptr_t)start);
    store_relaxed(&mapping->length, length);
    store_release(&mapping->state, MAPPING_LIVE);
    if (map_set((uintptr_t)start, length, mapping_word(mapping))) {
        state_count_mapped((int64_t)length);
        return true;
    }
    mapping_descriptor_give(mapping);
    return false;
}

/* --- allocating ----------------------------------------------------------------------------------------- */

static void *mapping_create(struct mapping *mapping, size_t length, size_t alignment)
{
    void *start = platform_map(length, alignment);
    state_lock(LOCK_ARENA);
    bool published = false;
    if (start == NULL)
        mapping_descriptor_give(mapping);
    else
        published = mapping_publish(mapping, start, length);
    state_unlock(LOCK_ARENA);
    if (published)
        return start;
    if (start != NULL)
        (void)platform_unmap(start, length);
    return NULL;
}

/* More than this of a block that nobody asked for is given back. */
static bool is_too_long(const struct mapping *mapping, size_t length)
{
    return mapping->length > length + length / 16;
}

/* A cached mapping becomes a block of `length` bytes, or false: it is as it was. */
static bool mapping_fit(struct mapping *mapping, size_t length)
{
    if (mapping->length < length)
        return mapping_stretch(mapping, length) || mapping_move(mapping, length);
    if (is_too_long(mapping, length))
        (void)mapping_stretch(mapping, length);
    return true;
}

/* NULL: it could not grow, and is cached again. */
static void *mapping_reuse(struct mapping *mapping, size_t length, size_t *ret_dirty)
{
    size_t dirty = mapping->dirty;
    bool fits = mapping_fit(mapping, length);
    state_lock(LOCK_ARENA);
    if (fits) {
        memset(mapping->ledger, 0, sizeof mapping->ledger);
        store_release(&mapping->state, MAPPING_LIVE);
    } else {
        mapping_cache_put(mapping, dirty);
    }
    state_unlock(LOCK_ARENA);
    if (!fits)
        return NULL;
    *ret_dirty = dirty < mapping->length ? dirty : mapping->length;
    return (void *)mapping->start;
}

void *mapping_alloc(size_t size, size_t alignment, size_t *ret_dirty)
{
    size_t length = page_round(size);
    void *p = NULL;
    if (length < size)
        return NULL;
    state_lock(LOCK_ARENA);
    purge_tick();
    struct mapping *cached = alignment <= CHUNK_SIZE ? mapping_cache_take(length) : NULL;
    state_unlock(LOCK_ARENA);
    if (cached != NULL)
        p = mapping_reuse(cached, length, ret_dirty);
    if (p != NULL)
        return p;
    state_lock(LOCK_ARENA);
    struct mapping *mapping = mapping_descriptor_take();
    alloc_state.large_seen = true;
    state_unlock(LOCK_ARENA);
    *ret_dirty = 0;
    return mapping == NULL ? NULL
                           : mapping_create(mapping, length, alignment < CHUNK_SIZE ? CHUNK_SIZE : alignment);
}

/* --- freeing -------------------------------------------------------------------------------------------- */

enum alloc_status mapping_free(struct mapping *mapping, void *p)
{
    state_lock(LOCK_ARENA);
    if (mapping->state != MAPPING_LIVE || mapping->start != (uintptr_t)p) {
        state_unlock(LOCK_ARENA);
        return ALLOC_DOUBLE_FREE;
    }
    mapping_cache_put(mapping, mapping->length);
    struct mapping *surplus = mapping_cache_evict();
    purge_tick();
    state_unlock(LOCK_ARENA);
    (void)mappings_unmap(surplus);
    return ALLOC_OK;
}

/* --- realloc -------------------------------------------------------------------------------------------- */

/* A block that grows will grow again: room that is not touched costs nothing but addresses. */
static bool mapping_grow(struct mapping *mapping, size_t length)
{
    size_t roomy = length + page_round(length / 8);
    return (roomy > length && mapping_stretch(mapping, roomy)) || mapping_stretch(mapping, length) ||
           (roomy > length && mapping_move(mapping, roomy)) || mapping_move(mapping, length);
}

void *mapping_resize(struct mapping *mapping, size_t size)
{
    size_t length = page_round(size);
    if (length < size)
        return NULL;
    bool done = true;
    if (length > mapping->length)
        done = mapping_grow(mapping, length);
    else if (mapping->length - length > length / 8)
        done = mapping_stretch(mapping, length);
    return done ? (void *)mapping->start : NULL;
}
