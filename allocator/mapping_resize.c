/* SPDX-License-Identifier: MIT */
/* mapping_resize.c - a mapping grows, shrinks and moves; see mapping.h. Its descriptor is the caller's alone. */
#include <string.h>

#include "allocator/mapping.h"
#include "allocator/state.h"

/* The map follows the pages. */
bool mapping_stretch(struct mapping *mapping, size_t length)
{
    uintptr_t start = mapping->start;
    size_t old = mapping->length;
    if (!platform_resize((void *)start, old, length))
        return false;
    state_lock(LOCK_ARENA);
    bool fits = length < old || map_set(start, length, mapping_word(mapping));
    if (fits) {
        uintptr_t end = mapping_granules_end(start, length), old_end = mapping_granules_end(start, old);
        if (end < old_end)
            map_clear(end, old_end - end, mapping_word(mapping));
        store_relaxed(&mapping->length, length);
        state_count_mapped((int64_t)length - (int64_t)old);
    }
    state_unlock(LOCK_ARENA);
    if (!fits)
        (void)platform_resize((void *)start, length, old);
    return fits;
}

/* Arena lock held: it is `length` bytes at `start` from now on. */
static void mapping_relocate(struct mapping *mapping, uintptr_t start, size_t length)
{
    state_count_mapped((int64_t)length - (int64_t)mapping->length);
    store_relaxed(&mapping->start, start);
    store_relaxed(&mapping->length, length);
}

/* The books first, then the pages, and only then is the old place forgotten: a child forked in between, where nobody
 * finishes this, counts the mapping where its map entries stay its own. Those of the old place another may come to
 * write over, once the kernel has the addresses back. */
bool mapping_move(struct mapping *mapping, size_t length)
{
    uintptr_t old_start = mapping->start;
    size_t old_length = mapping->length;
    void *target = platform_map(length, CHUNK_SIZE);
    if (target == NULL)
        return false;
    state_lock(LOCK_ARENA);
    bool known = map_set((uintptr_t)target, length, mapping_word(mapping));
    if (known)
        mapping_relocate(mapping, (uintptr_t)target, length);
    state_unlock(LOCK_ARENA);
    bool moved = known && platform_move((void *)old_start, old_length, target, length);
    state_lock(LOCK_ARENA);
    if (moved) {
        memset(mapping->ledger, 0, sizeof mapping->ledger);
        map_clear(old_start, old_length, mapping_word(mapping));
    } else if (known) {
        mapping_relocate(mapping, old_start, old_length);
        map_clear((uintptr_t)target, length, mapping_word(mapping));
    }
    state_unlock(LOCK_ARENA);
    if (!moved && !platform_unmap(target, length))
        mapping_adopt(target, length);
    return moved;
}
