/* SPDX-License-Identifier: MIT */
/* chunk.c - see chunk.h. Order: arena bins, runs, taking, giving; chunks come and go in chunk_pages.c. */
#include "allocator/chunk.h"

#include "allocator/chunk_pages.h"
#include "allocator/slotmap.h"

/* How many arenas of one bin to look into for a run: their free slots may be scattered. */
#define ARENA_TRIES 8
/* How many chunks to look into for a resident run: 256 MiB, in less time than a page fault takes. */
#define RESIDENT_TRIES 64u

/* --- arena bins ----------------------------------------------------------------------------------------- */

static struct pool *arena_links(uint32_t id)
{
    struct chunk *chunk = (struct chunk *)(((uintptr_t)id << ARENA_SHIFT) & ~(uintptr_t)(CHUNK_SIZE - 1));
    return &chunk->pools[(size_t)(id % CHUNK_ARENAS) * ARENA_SLOTS];
}

static uint32_t arena_id(const struct chunk *chunk, unsigned arena)
{
    return (uint32_t)((uintptr_t)chunk >> ARENA_SHIFT) + arena;
}

static unsigned arena_free(const struct chunk *chunk, unsigned arena)
{
    return chunk->header.arena_free[arena];
}

static void arena_unlink(uint32_t id, unsigned bin)
{
    struct pool *links = arena_links(id);
    if (links->arena_prev != 0)
        arena_links(links->arena_prev)->arena_next = links->arena_next;
    else
        alloc_state.arena_bin[bin] = links->arena_next;
    if (links->arena_next != 0)
        arena_links(links->arena_next)->arena_prev = links->arena_prev;
    links->arena_next = links->arena_prev = 0;
}

static void arena_link(uint32_t id, unsigned bin)
{
    struct pool *links = arena_links(id);
    uint32_t first = alloc_state.arena_bin[bin];
    links->arena_prev = 0;
    links->arena_next = first;
    if (first != 0)
        arena_links(first)->arena_prev = id;
    alloc_state.arena_bin[bin] = id;
}

static bool arena_is_virgin(const struct chunk *chunk, unsigned arena)
{
    return chunk->header.virgin_arenas >> arena & 1;
}

static bool arena_is_binned(const struct chunk *chunk, unsigned arena)
{
    return arena_free(chunk, arena) != 0 && !arena_is_virgin(chunk, arena);
}

void arenas_link(struct chunk *chunk)
{
    for (unsigned arena = 0; arena < CHUNK_ARENAS; arena++)
        if (arena_is_binned(chunk, arena))
            arena_link(arena_id(chunk, arena), arena_free(chunk, arena));
}

void arenas_unlink(struct chunk *chunk)
{
    for (unsigned arena = 0; arena < CHUNK_ARENAS; arena++)
        if (arena_is_binned(chunk, arena))
            arena_unlink(arena_id(chunk, arena), arena_free(chunk, arena));
}

static void arena_change(struct chunk *chunk, unsigned arena, int change)
{
    unsigned before = arena_free(chunk, arena), after = before + (unsigned)change;
    if (arena_is_binned(chunk, arena))
        arena_unlink(arena_id(chunk, arena), before);
    chunk->header.virgin_arenas &= ~(1u << arena);
    chunk->header.arena_free[arena] = (uint8_t)after;
    if (after != 0)
        arena_link(arena_id(chunk, arena), after);
}

/* Set or clear [from, from + n) of the free map, which all are the other way, and keep every arena in the bin of its
 * count. */
static void free_map_change(struct chunk *chunk, unsigned from, unsigned n, bool free)
{
    for (unsigned at = from; at < from + n;) {
        unsigned end = (at / ARENA_SLOTS + 1) * ARENA_SLOTS;
        int part = (int)((end < from + n ? end : from + n) - at);
        arena_change(chunk, at / ARENA_SLOTS, free ? part : -part);
        at = end;
    }
    if (free)
        slotmap_set(chunk->header.free_map, from, n);
    else
        slotmap_clear(chunk->header.free_map, from, n);
    chunk->header.free_slots += free ? n : -n;
}

/* --- runs ----------------------------------------------------------------------------------------------- */

/* The first free run of n slots from `from` on, before `end`, that starts at a multiple of align. *longest
 * grows to the longest run seen. */
static bool run_find(const uint64_t *map, unsigned from, unsigned end, unsigned n, unsigned align,
                     unsigned *longest, unsigned *ret_start)
{
    for (unsigned start = slotmap_next(map, from, SLOTMAP_SET); start < end;) {
        unsigned stop = slotmap_next(map, start, SLOTMAP_CLEAR);
        if (stop > end)
            stop = end;
        if (stop - start > *longest)
            *longest = stop - start;
        unsigned aligned = (start + align - 1) & ~(align - 1);
        if (aligned + n <= stop) {
            *ret_start = aligned;
            return true;
        }
        start = slotmap_next(map, stop, SLOTMAP_SET);
    }
    return false;
}

unsigned chunk_longest_run(const struct chunk *chunk)
{
    unsigned longest = 0, start;
    (void)run_find(chunk->header.free_map, 0, CHUNK_SLOTS, CHUNK_SLOTS + 1, 1, &longest, &start);
    return longest;
}

static bool find_in_arenas(unsigned n, unsigned align, struct chunk **ret_chunk, unsigned *ret_start)
{
    for (unsigned bin = n; bin <= ARENA_SLOTS; bin++) {
        uint32_t id = alloc_state.arena_bin[bin];
        for (int i = 0; id != 0 && i < ARENA_TRIES; i++, id = arena_links(id)->arena_next) {
            struct chunk *chunk = chunk_of(arena_links(id));
            unsigned from = id % CHUNK_ARENAS * ARENA_SLOTS, longest = 0;
            if (run_find(chunk->header.free_map, from, from + ARENA_SLOTS, n, align, &longest, ret_start)) {
                *ret_chunk = chunk;
                return true;
            }
        }
    }
    return false;
}

static bool find_in_chunks(unsigned n, unsigned align, struct chunk **ret_chunk, unsigned *ret_start)
{
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++) {
        if (alloc_state.chunk_room[i] < n)
            continue;
        struct chunk *chunk = alloc_state.chunks[i];
        unsigned longest = 0;
        if (run_find(chunk->header.free_map, 0, CHUNK_SLOTS, n, align, &longest, ret_start)) {
            *ret_chunk = chunk;
            return true;
        }
        /* The whole chunk was seen: the bound is now exact. */
        alloc_state.chunk_room[i] = (uint8_t)longest;
    }
    return false;
}

/* --- taking and giving ---------------------------------------------------------------------------------- */

/* Were all of [from, from + n) returned or never touched? Forgets that any was dirty. */
static bool forget_dirty(struct chunk *chunk, unsigned from, unsigned n)
{
    struct chunk_header *header = &chunk->header;
    unsigned dirty = slotmap_count(header->dirty_map, from, n) + slotmap_count(header->aged_map, from, n);
    if (dirty == 0)
        return true;
    slotmap_clear(header->dirty_map, from, n);
    slotmap_clear(header->aged_map, from, n);
    alloc_state.dirty_slots -= dirty;
    return false;
}

static void run_number(struct pool *first, unsigned from, unsigned n)
{
    if (from == 0)
        store_relaxed(&first->distance, 0);
    for (unsigned i = from == 0 ? 1 : from; i < n; i++) {
        store_relaxed(&first[i].distance, (uint8_t)i);
        store_relaxed(&first[i].state, SLOT_RUN);
    }
    store_relaxed(&first->slots, (uint8_t)n);
}

static bool run_take(struct chunk *chunk, unsigned start, unsigned n)
{
    free_map_change(chunk, start, n, false);
    bool zeroed = forget_dirty(chunk, start, n);
    run_number(&chunk->pools[start], 0, n);
    return zeroed;
}

struct pool *slots_find_resident(unsigned least, unsigned most, unsigned *ret_n)
{
    if (alloc_state.dirty_slots < least)
        return NULL;
    for (uint32_t i = 0; i < alloc_state.chunk_count && i < RESIDENT_TRIES; i++) {
        struct chunk *chunk = alloc_state.chunks[i];
        uint64_t map[MAP_WORDS];
        unsigned longest = 0, start;
        for (unsigned word = 0; word < MAP_WORDS; word++)
            map[word] = chunk->header.dirty_map[word] | chunk->header.aged_map[word];
        if (!run_find(map, 0, CHUNK_SLOTS, least, 1, &longest, &start))
            continue;
        unsigned n = slotmap_next(map, start, SLOTMAP_CLEAR) - start;
        *ret_n = n < most ? n : most;
        return &chunk->pools[start];
    }
    return NULL;
}

void slots_take_at(struct pool *first, unsigned n)
{
    (void)run_take(chunk_of(first), slot_index(first), n);
}

struct pool *slots_take(unsigned n, unsigned align, bool *ret_zeroed)
{
    struct chunk *chunk;
    unsigned start;
    bool found = n <= ARENA_SLOTS && find_in_arenas(n, align, &chunk, &start);
    found = found || find_in_chunks(n, align, &chunk, &start);
    if (!found && (!chunk_add(n + align - 1) || !find_in_chunks(n, align, &chunk, &start)))
        return NULL;
    *ret_zeroed = run_take(chunk, start, n);
    return &chunk->pools[start];
}

bool slots_extend(struct pool *first, unsigned more, bool *ret_zeroed)
{
    struct chunk *chunk = chunk_of(first);
    unsigned start = slot_index(first) + first->slots;
    if (start + more > CHUNK_SLOTS || slotmap_count(chunk->header.free_map, start, more) != more)
        return false;
    free_map_change(chunk, start, more, false);
    *ret_zeroed = forget_dirty(chunk, start, more);
    run_number(first, first->slots, first->slots + more);
    return true;
}

void slots_hold(struct chunk *chunk, unsigned from, unsigned n)
{
    free_map_change(chunk, from, n, false);
}

/* The bound of a chunk's room must cover the run that these slots have become part of. */
static void room_grow(struct chunk *chunk, unsigned from, unsigned n)
{
    unsigned stop = slotmap_next(chunk->header.free_map, from + n, SLOTMAP_CLEAR), start = from;
    while (start > 0 && slot_bit(chunk->header.free_map, start - 1))
        start--;
    uint8_t *room = &alloc_state.chunk_room[chunk->header.table_index];
    if (stop - start > *room)
        *room = (uint8_t)(stop - start);
}

void slots_give(struct chunk *chunk, unsigned from, unsigned n, bool dirty)
{
    /* Later slots of a run have no owner. */
    store_relaxed(&chunk->pools[from].owner, 0);
    for (unsigned i = from; i < from + n; i++)
        store_relaxed(&chunk->pools[i].state, SLOT_FREE);
    free_map_change(chunk, from, n, true);
    room_grow(chunk, from, n);
    if (!dirty)
        return;
    slotmap_set(chunk->header.dirty_map, from, n);
    alloc_state.dirty_slots += n;
    if (load_relaxed(&alloc_state.decay_ms) == 0)
        chunk_purge_now(chunk);
}
