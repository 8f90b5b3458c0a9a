/* SPDX-License-Identifier: MIT */
/* mapping.c - see mapping.h. */
#include "allocator/mapping.h"

#include <string.h>

#include "allocator/address_map.h"
#include "allocator/metadata.h"
#include "allocator/state.h"

static size_t page_round(size_t size)
{
    return (size + PLATFORM_PAGE - 1) & ~(size_t)(PLATFORM_PAGE - 1);
}

/* What the address map says where this mapping is. */
static uintptr_t map_word(const struct mapping *mapping)
{
    return (uintptr_t)mapping | MAP_MAPPING;
}

/* --- descriptors, arena lock held ----------------------------------------------------------------------- */

static struct mapping *descriptor_take(void)
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

static void descriptor_give(struct mapping *mapping)
{
    store_release(&mapping->state, MAPPING_UNUSED);
    mapping->next = alloc_state.unused_mappings;
    alloc_state.unused_mappings = mapping;
}

static void descriptor_give_alone(struct mapping *mapping)
{
    state_lock(LOCK_ARENA);
    descriptor_give(mapping);
    state_unlock(LOCK_ARENA);
}

/* Let the address map lead to `mapping`, which describes [start, start + length). */
static bool mapping_publish(struct mapping *mapping, void *start, size_t length)
{
    memset(mapping->ledger, 0, sizeof mapping->ledger);
    store_relaxed(&mapping->start, (uintptr_t)start);
    store_relaxed(&mapping->length, length);
    store_release(&mapping->state, MAPPING_LIVE);
    if (map_set((uintptr_t)start, length, map_word(mapping))) {
        state_count_mapped((int64_t)length);
        return true;
    }
    descriptor_give(mapping);
    return false;
}

/* --- allocating ----------------------------------------------------------------------------------------- */

/* A stuck one that fits and is not more than twice too large. */
static void *stuck_take(size_t length, size_t alignment)
{
    for (struct mapping **link = &alloc_state.stuck_mappings; *link != NULL; link = &(*link)->next) {
        struct mapping *mapping = *link;
        if (mapping->length < length || mapping->length / 2 > length ||
            (mapping->start & (alignment - 1)) != 0)
            continue;
        *link = mapping->next;
        memset(mapping->ledger, 0, sizeof mapping->ledger);
        store_release(&mapping->state, MAPPING_LIVE);
        return (void *)mapping->start;
    }
    return NULL;
}

static void *mapping_create(struct mapping *mapping, size_t length, size_t alignment)
{
    void *start = platform_map(length, alignment);
    if (start == NULL) {
        descriptor_give_alone(mapping);
        return NULL;
    }
    state_lock(LOCK_ARENA);
    bool published = mapping_publish(mapping, start, length);
    state_unlock(LOCK_ARENA);
    if (published)
        return start;
    (void)platform_unmap(start, length);
    return NULL;
}

void *mapping_alloc(size_t size, size_t alignment, bool *ret_zeroed)
{
    size_t length = page_round(size);
    if (length < size)
        return NULL;
    alignment = alignment < CHUNK_SIZE ? CHUNK_SIZE : alignment;
    state_lock(LOCK_ARENA);
    void *stuck = stuck_take(length, alignment);
    struct mapping *mapping = stuck == NULL ? descriptor_take() : NULL;
    state_unlock(LOCK_ARENA);
    *ret_zeroed = stuck == NULL;
    if (stuck != NULL)
        return stuck;
    return mapping == NULL ? NULL : mapping_create(mapping, length, alignment);
}

/* --- freeing -------------------------------------------------------------------------------------------- */

/* The kernel refused: the map shows it again, so that its address is known, and a later request may have it.
 */
static void mapping_keep(struct mapping *mapping)
{
    (void)platform_purge((void *)mapping->start, mapping->length);
    state_lock(LOCK_ARENA);
    (void)map_set(mapping->start, mapping->length, map_word(mapping));
    store_release(&mapping->state, MAPPING_STUCK);
    mapping->next = alloc_state.stuck_mappings;
    alloc_state.stuck_mappings = mapping;
    state_count_mapped((int64_t)mapping->length);
    state_unlock(LOCK_ARENA);
}

enum alloc_status mapping_free(struct mapping *mapping, void *p)
{
    state_lock(LOCK_ARENA);
    if (mapping->state != MAPPING_LIVE || mapping->start != (uintptr_t)p) {
        state_unlock(LOCK_ARENA);
        return ALLOC_DOUBLE_FREE;
    }
    /* From here on nobody else finds it. */
    store_release(&mapping->state, MAPPING_UNUSED);
    map_clear(mapping->start, mapping->length, map_word(mapping));
    state_count_mapped(-(int64_t)mapping->length);
    state_unlock(LOCK_ARENA);
    if (platform_unmap(p, mapping->length))
        descriptor_give_alone(mapping);
    else
        mapping_keep(mapping);
    return ALLOC_OK;
}

bool mappings_retry_unmap(void)
{
    bool any = false;
    for (struct mapping **link = &alloc_state.stuck_mappings; *link != NULL;) {
        struct mapping *mapping = *link;
        map_clear(mapping->start, mapping->length, map_word(mapping));
        if (!platform_unmap((void *)mapping->start, mapping->length)) {
            (void)map_set(mapping->start, mapping->length, map_word(mapping));
            link = &mapping->next;
            continue;
        }
        *link = mapping->next;
        state_count_mapped(-(int64_t)mapping->length);
        descriptor_give(mapping);
        any = true;
    }
    return any;
}

/* --- realloc -------------------------------------------------------------------------------------------- */

static uintptr_t granules_end(uintptr_t start, size_t length)
{
    return (start + length + CHUNK_SIZE - 1) & ~(uintptr_t)(CHUNK_SIZE - 1);
}

/* The map follows the pages. */
static bool mapping_stretch(struct mapping *mapping, size_t length)
{
    uintptr_t start = mapping->start;
    size_t old = mapping->length;
    if (!platform_resize((void *)start, old, length))
        return false;
    state_lock(LOCK_ARENA);
    bool fits = length < old || map_set(start, length, map_word(mapping));
    if (fits) {
        uintptr_t end = granules_end(start, length), old_end = granules_end(start, old);
        if (end < old_end)
            map_clear(end, old_end - end, map_word(mapping));
        store_relaxed(&mapping->length, length);
        state_count_mapped((int64_t)length - (int64_t)old);
    }
    state_unlock(LOCK_ARENA);
    if (!fits)
        (void)platform_resize((void *)start, length, old);
    return fits;
}

/* First the new place is ours in every respect, then the pages go there. */
static void *mapping_move(struct mapping *mapping, size_t length)
{
    uintptr_t old_start = mapping->start;
    size_t old_length = mapping->length;
    void *target = platform_map(length, CHUNK_SIZE);
    if (target == NULL)
        return NULL;
    state_lock(LOCK_ARENA);
    bool known = map_set((uintptr_t)target, length, map_word(mapping));
    state_unlock(LOCK_ARENA);
    bool moved = known && platform_move((void *)old_start, old_length, target, length);
    state_lock(LOCK_ARENA);
    if (moved) {
        store_relaxed(&mapping->start, (uintptr_t)target);
        store_relaxed(&mapping->length, length);
        memset(mapping->ledger, 0, sizeof mapping->ledger);
        map_clear(old_start, old_length, map_word(mapping));
        state_count_mapped((int64_t)length - (int64_t)old_length);
    } else if (known) {
        map_clear((uintptr_t)target, length, map_word(mapping));
    }
    state_unlock(LOCK_ARENA);
    if (!moved)
        (void)platform_unmap(target, length);
    return moved ? target : NULL;
}

void *mapping_resize(struct mapping *mapping, size_t size)
{
    size_t length = page_round(size);
    if (length < size)
        return NULL;
    if (length == mapping->length || mapping_stretch(mapping, length))
        return (void *)mapping->start;
    return length > mapping->length ? mapping_move(mapping, length) : NULL;
}
