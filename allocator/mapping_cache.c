/* SPDX-License-Identifier: MIT */
/* mapping_cache.c - freed mappings, newest first, until their memory is wanted again or their time is up; see
 * mapping.h. */
#include "allocator/mapping.h"

#include "allocator/purge.h"
#include "allocator/state.h"

/* --- the list ------------------------------------------------------------------------------------------- */

static void cache_push(struct mapping *mapping)
{
    mapping->next = alloc_state.cached_mappings;
    alloc_state.cached_mappings = mapping;
    alloc_state.cached_mapping_bytes += mapping->length;
}

static struct mapping *cache_remove(struct mapping **link)
{
    struct mapping *mapping = *link;
    *link = mapping->next;
    alloc_state.cached_mapping_bytes -= mapping->length;
    return mapping;
}

void mapping_cache_put(struct mapping *mapping, size_t dirty)
{
    mapping->dirty = dirty;
    mapping->aged = false;
    store_release(&mapping->state, MAPPING_CACHED);
    cache_push(mapping);
}

/* --- taking --------------------------------------------------------------------------------------------- */

/* Is `mapping` better than `best` for length bytes? Long enough is better, then: short when long enough, long when
 * not. */
static bool suits_better(const struct mapping *mapping, const struct mapping *best, size_t length)
{
    if (best == NULL)
        return true;
    bool enough = mapping->length >= length, best_enough = best->length >= length;
    if (enough != best_enough)
        return enough;
    return enough ? mapping->length < best->length : mapping->length > best->length;
}

/* What lies past the granules of `length` bytes becomes a cached mapping of its own. */
static void split(struct mapping *mapping, size_t length)
{
    size_t kept = mapping_granules_end(mapping->start, length) - mapping->start;
    if (mapping->length <= kept)
        return;
    struct mapping *rest = mapping_descriptor_take();
    if (rest == NULL)
        return;
    store_relaxed(&rest->start, mapping->start + kept);
    store_relaxed(&rest->length, mapping->length - kept);
    (void)map_set(rest->start, rest->length, mapping_word(rest)); /* its leaves are there: cannot fail */
    store_relaxed(&mapping->length, kept);
    mapping_cache_put(rest, mapping->dirty > kept ? mapping->dirty - kept : 0);
}

struct mapping *mapping_cache_take(size_t length)
{
    struct mapping **best = NULL;
    for (struct mapping **link = &alloc_state.cached_mappings; *link != NULL; link = &(*link)->next)
        if (suits_better(*link, best == NULL ? NULL : *best, length))
            best = link;
    if (best == NULL)
        return NULL;
    struct mapping *mapping = cache_remove(best);
    if (mapping->length > length + length / 8)
        split(mapping, length);
    return mapping;
}

/* --- giving back ---------------------------------------------------------------------------------------- */

/* In nobody's reach from here on. */
static void mapping_retire(struct mapping *mapping)
{
    store_release(&mapping->state, MAPPING_UNUSED);
    map_clear(mapping->start, mapping->length, mapping_word(mapping));
    state_count_mapped(-(int64_t)mapping->length);
}

/* The kernel refused: the map shows it again, so that its address is known, and a later request may have it. */
static void mapping_keep(struct mapping *mapping)
{
    size_t dirty = platform_purge((void *)mapping->start, mapping->length) ? 0 : mapping->length;
    state_lock(LOCK_ARENA);
    (void)map_set(mapping->start, mapping->length, mapping_word(mapping));
    state_count_mapped((int64_t)mapping->length);
    mapping_cache_put(mapping, dirty);
    state_unlock(LOCK_ARENA);
}

void mapping_adopt(void *start, size_t length)
{
    state_lock(LOCK_ARENA);
    struct mapping *mapping = mapping_descriptor_take();
    if (mapping != NULL) {
        store_relaxed(&mapping->start, (uintptr_t)start);
        store_relaxed(&mapping->length, length);
        if (map_set((uintptr_t)start, length, mapping_word(mapping))) {
            state_count_mapped((int64_t)length);
            mapping_cache_put(mapping, length);
        } else {
            mapping_descriptor_give(mapping);
        }
    }
    state_unlock(LOCK_ARENA);
}

bool mappings_unmap(struct mapping *chain)
{
    bool any = false;
    for (struct mapping *mapping = chain, *next; mapping != NULL; mapping = next) {
        next = mapping->next;
        if (!platform_unmap((void *)mapping->start, mapping->length)) {
            mapping_keep(mapping);
            continue;
        }
        any = true;
        state_lock(LOCK_ARENA);
        mapping_descriptor_give(mapping);
        state_unlock(LOCK_ARENA);
    }
    return any;
}

static void retire_to(struct mapping **chain, struct mapping *mapping)
{
    mapping_retire(mapping);
    mapping->next = *chain;
    *chain = mapping;
}

static uint64_t cache_bound(void)
{
    return load_relaxed(&alloc_state.decay_ms) == 0 ? 0 : MAPPING_CACHE_BYTES;
}

/* The newest goes when it alone is too much; otherwise the oldest go first. */
struct mapping *mapping_cache_evict(void)
{
    struct mapping *chain = NULL;
    if (alloc_state.cached_mappings != NULL && alloc_state.cached_mappings->length > cache_bound() / 2)
        retire_to(&chain, cache_remove(&alloc_state.cached_mappings));
    while (alloc_state.cached_mapping_bytes > cache_bound()) {
        struct mapping **last = &alloc_state.cached_mappings;
        while ((*last)->next != NULL)
            last = &(*last)->next;
        retire_to(&chain, cache_remove(last));
    }
    return chain;
}

bool mappings_purge(bool all)
{
    struct mapping *chain = NULL;
    for (struct mapping **link = &alloc_state.cached_mappings; *link != NULL;) {
        if (all || (*link)->aged) {
            retire_to(&chain, cache_remove(link));
            continue;
        }
        (*link)->aged = true;
        link = &(*link)->next;
    }
    if (chain == NULL)
        return false;
    state_unlock(LOCK_ARENA);
    bool any = mappings_unmap(chain);
    state_lock(LOCK_ARENA);
    return any;
}
