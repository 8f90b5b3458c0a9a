/* SPDX-License-Identifier: MIT */
/* verify_large.c - see verify_large.h. */
#include "allocator/verify_large.h"

#include "allocator/address_map.h"
#include "allocator/mapping.h"
#include "allocator/span.h"
#include "allocator/state.h"

/* --- spans ---------------------------------------------------------------------------------------------- */

/* A list that leads back into itself is longer than what a cache can hold. */
static const char *check_bin(const struct span_cache *cache, unsigned slots, uint64_t *sum,
                             const void **ret_where)
{
    for (const struct pool *span = cache->bin[slots]; span != NULL; span = span->next) {
        *ret_where = span;
        if (map_entry((uintptr_t)span) != chunk_base((uintptr_t)span))
            return "a cache of spans leaves the chunks";
        if (span->state != SLOT_CACHED)
            return "a span in a cache is not marked so";
        if (span->slots != slots)
            return "a span is cached among others of another length";
        *sum += slots;
        if (*sum > SPAN_CACHE_SLOTS)
            return "a cache of spans exceeds its bound";
    }
    return NULL;
}

static const char *check_cache(const struct span_cache *cache, uint64_t *total, const void **ret_where)
{
    uint64_t sum = 0;
    for (unsigned slots = 0; slots <= SPAN_SLOTS_MAX; slots++) {
        const char *what = check_bin(cache, slots, &sum, ret_where);
        if (what != NULL)
            return what;
    }
    *ret_where = cache;
    *total += sum;
    return (cache->word & SPANS_LOCKED) != 0 || sum == spans_count(cache->word)
               ? NULL
               : "a cache of spans counts its slots wrong";
}

static uint64_t slots_marked_cached(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++) {
        const struct chunk *chunk = alloc_state.chunks[i];
        for (unsigned slot = HEAD_SLOTS; slot < chunk_slots(chunk); slot++)
            if (chunk->pools[slot].state == SLOT_CACHED)
                sum += chunk->pools[slot].slots;
    }
    return sum;
}

static const char *verify_spans(const void **ret_where)
{
    uint64_t total = 0;
    for (const struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all) {
        const char *what = check_cache(&heap->spans, &total, ret_where);
        if (what != NULL)
            return what;
    }
    *ret_where = NULL;
    return total == slots_marked_cached() ? NULL : "a cached span is in no cache";
}

/* --- mappings ------------------------------------------------------------------------------------------- */

static const char *check_cached_mapping(const struct mapping *mapping)
{
    if (mapping->state != MAPPING_CACHED)
        return "a cached mapping is not marked so";
    if (mapping->dirty > mapping->length)
        return "a cached mapping is dirty past its end";
    if (map_entry(mapping->start) != mapping_word(mapping) ||
        map_entry(mapping->start + mapping->length - 1) != mapping_word(mapping))
        return "the address map forgot a cached mapping";
    return NULL;
}

static const char *verify_mappings(const void **ret_where)
{
    uint64_t bytes = 0;
    for (const struct mapping *mapping = alloc_state.cached_mappings; mapping != NULL;
         mapping = mapping->next) {
        *ret_where = mapping;
        const char *what = check_cached_mapping(mapping);
        if (what != NULL)
            return what;
        bytes += mapping->length;
        if (bytes > alloc_state.cached_mapping_bytes)
            break;
    }
    *ret_where = NULL;
    return bytes == alloc_state.cached_mapping_bytes ? NULL : "cached mappings are counted wrong";
}

const char *verify_large(const void **ret_where)
{
    const char *what = verify_spans(ret_where);
    return what != NULL ? what : verify_mappings(ret_where);
}
