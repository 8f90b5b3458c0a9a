/* SPDX-License-Identifier: MIT */
/* chunk_pages.c - see chunk_pages.h. */
#include "allocator/chunk_pages.h"

#include <string.h>

#include "allocator/address_map.h"
#include "allocator/chunk.h"
#include "allocator/metadata.h"
#include "allocator/slotmap.h"

/* 28 * 9 bytes, 112 MiB of address space: a small program's table takes 256 bytes, not a page. */
#define FIRST_CAPACITY 28u

/* Chunks from this one on may have huge pages, where the system gives them unasked: 2 MiB of memory for nothing is
 * then little beside what the process has. */
#define PLAIN_PAGES_FROM 8u

/* Where the next chunk is wished to be: behind the newest, from the start of the window. */
static unsigned char *next_hint;

/* --- the table of chunks -------------------------------------------------------------------------------- */

static size_t table_size(uint32_t capacity)
{
    return capacity * (sizeof(struct chunk *) + 1);
}

static bool table_grow(void)
{
    if (alloc_state.chunk_count < alloc_state.chunk_capacity)
        return true;
    uint32_t capacity = alloc_state.chunk_capacity == 0 ? FIRST_CAPACITY : alloc_state.chunk_capacity * 2;
    struct chunk **chunks = metadata_take(table_size(capacity));
    if (chunks == NULL)
        return false;
    uint8_t *room = (uint8_t *)(chunks + capacity);
    if (alloc_state.chunk_count != 0) {
        memcpy(chunks, alloc_state.chunks, alloc_state.chunk_count * sizeof(struct chunk *));
        memcpy(room, alloc_state.chunk_room, alloc_state.chunk_count);
        metadata_give(alloc_state.chunks, table_size(alloc_state.chunk_capacity));
    }
    alloc_state.chunks = chunks;
    alloc_state.chunk_room = room;
    alloc_state.chunk_capacity = capacity;
    return true;
}

static unsigned usable_slots(const struct chunk *chunk)
{
    return chunk->header.mapped_slots - HEAD_SLOTS;
}

static size_t chunk_length(const struct chunk *chunk)
{
    return (size_t)chunk->header.mapped_slots << SLOT_SHIFT;
}

static void table_append(struct chunk *chunk)
{
    uint32_t index = alloc_state.chunk_count++;
    chunk->header.table_index = index;
    alloc_state.chunks[index] = chunk;
    alloc_state.chunk_room[index] = (uint8_t)usable_slots(chunk);
}

/* The last one fills the hole. */
static void table_remove(uint32_t index)
{
    uint32_t last = --alloc_state.chunk_count;
    if (index == last)
        return;
    alloc_state.chunks[index] = alloc_state.chunks[last];
    alloc_state.chunk_room[index] = alloc_state.chunk_room[last];
    alloc_state.chunks[index]->header.table_index = index;
}

/* --- coming --------------------------------------------------------------------------------------------- */

/* The whole, or as much of it as the kernel gives, but enough for a run of n slots: a program under a limit lives on
 * in parts of chunks. */
static struct chunk *chunk_map_pages(unsigned n, unsigned *ret_slots)
{
    static const unsigned parts[] = {CHUNK_SLOTS, CHUNK_SLOTS / 4, CHUNK_SLOTS / 16};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (i > 0 && parts[i] - HEAD_SLOTS < n)
            return NULL;
        void *chunk = platform_map_near(next_hint, (size_t)parts[i] << SLOT_SHIFT, CHUNK_SIZE);
        if (chunk != NULL) {
            *ret_slots = parts[i];
            return chunk;
        }
    }
    return NULL;
}

/* The head is whole before the map leads to it: a walker may look at any moment. */
static struct chunk *chunk_map(unsigned n)
{
    unsigned slots;
    if (next_hint == NULL)
        next_hint = platform_window(alloc_root_data.secret >> 7);
    struct chunk *chunk = chunk_map_pages(n, &slots);
    if (chunk == NULL)
        return NULL;
    bool plain = alloc_state.chunk_count >= PLAIN_PAGES_FROM;
    if (!plain) /* before it is touched */
        platform_avoid_huge_pages(chunk, (size_t)slots << SLOT_SHIFT);
    chunk->header.plain_pages = plain;
    chunk->header.magic = CHUNK_MAGIC;
    chunk->header.mapped_slots = slots;
    slotmap_set(chunk->header.free_map, HEAD_SLOTS, slots - HEAD_SLOTS);
    chunk->header.free_slots = slots - HEAD_SLOTS;
    for (unsigned arena = 0; arena < slots / ARENA_SLOTS; arena++)
        chunk->header.arena_free[arena] = arena == 0 ? ARENA_SLOTS - HEAD_SLOTS : ARENA_SLOTS;
    /* Their links are in descriptors on pages that need not be touched yet. */
    chunk->header.virgin_arenas = (1u << slots / ARENA_SLOTS) - 1;
    if (!map_set((uintptr_t)chunk, CHUNK_SIZE, (uintptr_t)chunk)) {
        (void)platform_unmap(chunk, chunk_length(chunk));
        return NULL;
    }
    next_hint = (unsigned char *)chunk + CHUNK_SIZE;
    return chunk;
}

bool chunk_add(unsigned n)
{
    if (!table_grow())
        return false;
    struct chunk *chunk = chunk_map(n);
    if (chunk == NULL)
        return false;
    table_append(chunk);
    arenas_link(chunk);
    state_count_mapped((int64_t)chunk_length(chunk));
    return true;
}

/* --- pages go ------------------------------------------------------------------------------------------- */

/* A huge page that lost a piece would be made whole again behind our back, memory and all. */
static void settle_on_small_pages(struct chunk *chunk)
{
    if (!chunk->header.plain_pages)
        return;
    chunk->header.plain_pages = false;
    platform_avoid_huge_pages(chunk, chunk_length(chunk));
}

static bool run_purge(const struct slot_run *run)
{
    unsigned char *start = (unsigned char *)run->chunk + ((size_t)run->from << SLOT_SHIFT);
    return platform_purge(start, (size_t)run->slots << SLOT_SHIFT);
}

static void dirty_forget(struct chunk *chunk, uint64_t *map, unsigned from, unsigned n)
{
    slotmap_clear(map, from, n);
    alloc_state.dirty_slots -= n;
    settle_on_small_pages(chunk);
}

static void merge_dirty(struct chunk_header *header)
{
    for (unsigned word = 0; word < MAP_WORDS; word++) {
        header->aged_map[word] |= header->dirty_map[word];
        header->dirty_map[word] = 0;
    }
}

static bool next_run(struct chunk *chunk, unsigned after, struct slot_run *ret)
{
    unsigned from = slotmap_next(chunk->header.aged_map, after, SLOTMAP_SET);
    if (from >= CHUNK_SLOTS)
        return false;
    *ret = (struct slot_run){.chunk = chunk,
                             .from = from,
                             .slots = slotmap_next(chunk->header.aged_map, from, SLOTMAP_CLEAR) - from};
    return true;
}

/* What the kernel refuses stays marked and is tried again. */
void chunk_purge_now(struct chunk *chunk)
{
    struct slot_run run = {.slots = 0};
    merge_dirty(&chunk->header);
    for (unsigned after = 0; next_run(chunk, after, &run); after = run.from + run.slots)
        if (run_purge(&run))
            dirty_forget(chunk, chunk->header.aged_map, run.from, run.slots);
}

/* --- pages go, while others allocate -------------------------------------------------------------------- */

#define BATCH 64u

/* Take up to BATCH aged runs away from everybody. */
static unsigned runs_collect(struct slot_run *run)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++) {
        struct chunk *chunk = alloc_state.chunks[i];
        while (next_run(chunk, 0, &run[count])) {
            dirty_forget(chunk, chunk->header.aged_map, run[count].from, run[count].slots);
            slots_hold(chunk, run[count].from, run[count].slots);
            if (++count == BATCH)
                return count;
        }
    }
    return count;
}

/* true when all of them are gone. */
static bool runs_purge(struct slot_run *run, unsigned count)
{
    bool all = true;
    state_unlock(LOCK_ARENA);
    for (unsigned i = 0; i < count; i++) {
        run[i].refused = !run_purge(&run[i]);
        all = all && !run[i].refused;
    }
    state_lock(LOCK_ARENA);
    for (unsigned i = 0; i < count; i++)
        slots_give(run[i].chunk, run[i].from, run[i].slots, run[i].refused);
    return all;
}

static bool aged_purge(void)
{
    struct slot_run run[BATCH];
    bool any = false;
    for (;;) {
        unsigned count = runs_collect(run);
        if (count == 0)
            return any;
        any = true;
        if (!runs_purge(run, count))
            return any;
    }
}

/* --- chunks go ------------------------------------------------------------------------------------------ */

static bool chunk_is_dirty(const struct chunk_header *header)
{
    return slotmap_count(header->dirty_map, 0, CHUNK_SLOTS) != 0;
}

static bool chunk_may_go(const struct chunk *chunk, bool all)
{
    return chunk->header.free_slots == usable_slots(chunk) && (all || !chunk_is_dirty(&chunk->header));
}

/* From here on nobody finds it. */
static void chunk_detach(struct chunk *chunk)
{
    struct chunk_header *header = &chunk->header;
    arenas_unlink(chunk);
    map_clear((uintptr_t)chunk, CHUNK_SIZE, (uintptr_t)chunk);
    alloc_state.dirty_slots -=
        slotmap_count(header->dirty_map, 0, CHUNK_SLOTS) + slotmap_count(header->aged_map, 0, CHUNK_SLOTS);
    table_remove(header->table_index);
    state_count_mapped(-(int64_t)chunk_length(chunk));
}

/* The kernel kept it (too many areas), so do we, and take it for wholly resident. Should even the table have no room,
 * it is lost. */
static void chunk_reattach(struct chunk *chunk)
{
    if (!table_grow())
        return;
    memset(chunk->header.aged_map, 0, sizeof chunk->header.aged_map);
    memcpy(chunk->header.dirty_map, chunk->header.free_map, sizeof chunk->header.dirty_map);
    alloc_state.dirty_slots += usable_slots(chunk);
    (void)map_set((uintptr_t)chunk, CHUNK_SIZE, (uintptr_t)chunk); /* its leaf is there: cannot fail */
    table_append(chunk);
    arenas_link(chunk);
    state_count_mapped((int64_t)chunk_length(chunk));
}

/* Out of the table, and to be unmapped without the lock. Its head was read for the last time under it: what lies there
 * may be another's chunk as soon as the kernel has this one. */
struct going {
    struct chunk *chunk;
    size_t length; /* bytes */
};

/* One empty chunk stays: a program that lives round the edge of a chunk does not map and unmap it for ever. */
static unsigned empty_collect(struct going *going, bool all)
{
    unsigned count = 0;
    bool kept = false;
    for (uint32_t i = alloc_state.chunk_count; i-- > 0 && count < BATCH;) {
        if (!chunk_may_go(alloc_state.chunks[i], all))
            continue;
        if (kept) {
            struct chunk *chunk = alloc_state.chunks[i];
            going[count++] = (struct going){chunk, chunk_length(chunk)};
            chunk_detach(chunk);
        }
        kept = true;
    }
    return count;
}

static bool empty_unmap(bool all)
{
    struct going going[BATCH];
    void *hole = NULL;
    unsigned count = empty_collect(going, all), kept = 0;
    if (count == 0)
        return false;
    state_unlock(LOCK_ARENA);
    for (unsigned i = 0; i < count; i++) {
        if (platform_unmap(going[i].chunk, going[i].length))
            hole = going[i].chunk;
        else
            going[kept++] = going[i];
    }
    state_lock(LOCK_ARENA);
    if (hole != NULL)
        next_hint = hole;
    for (unsigned i = 0; i < kept; i++)
        chunk_reattach(going[i].chunk);
    /* A full batch, all of it gone: there may be more. */
    return (count == BATCH && kept == 0 && empty_unmap(all)) || hole != NULL;
}

bool chunks_purge(bool all)
{
    bool any = empty_unmap(all);
    if (all)
        for (uint32_t i = 0; i < alloc_state.chunk_count; i++)
            merge_dirty(&alloc_state.chunks[i]->header);
    any |= aged_purge();
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++)
        merge_dirty(&alloc_state.chunks[i]->header);
    return any;
}
