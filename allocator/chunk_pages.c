/* SPDX-License-Identifier: MIT */
/* chunk_pages.c - see chunk_pages.h. */
#include "allocator/chunk_pages.h"

#include <string.h>

#include "allocator/address_map.h"
#include "allocator/chunk.h"
#include "allocator/metadata.h"
#include "allocator/slotmap.h"

#define USABLE_SLOTS   (CHUNK_SLOTS - HEAD_SLOTS)
#define FIRST_CAPACITY 256u

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

static void table_append(struct chunk *chunk)
{
    uint32_t index = alloc_state.chunk_count++;
    chunk->header.table_index = index;
    alloc_state.chunks[index] = chunk;
    alloc_state.chunk_room[index] = USABLE_SLOTS;
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

/* The head is whole before the map leads to it: a walker may look at any moment. */
static struct chunk *chunk_map(void)
{
    if (next_hint == NULL)
        next_hint = platform_window(alloc_root_data.secret >> 7);
    struct chunk *chunk = platform_map_near(next_hint, CHUNK_SIZE, CHUNK_SIZE);
    if (chunk == NULL)
        return NULL;
    chunk->header.magic = CHUNK_MAGIC;
    slotmap_set(chunk->header.free_map, HEAD_SLOTS, USABLE_SLOTS);
    chunk->header.free_slots = USABLE_SLOTS;
    if (!map_set((uintptr_t)chunk, CHUNK_SIZE, (uintptr_t)chunk)) {
        (void)platform_unmap(chunk, CHUNK_SIZE);
        return NULL;
    }
    next_hint = (unsigned char *)chunk + CHUNK_SIZE;
    return chunk;
}

bool chunk_add(void)
{
    if (!table_grow())
        return false;
    struct chunk *chunk = chunk_map();
    if (chunk == NULL)
        return false;
    table_append(chunk);
    arenas_link(chunk);
    state_count_mapped((int64_t)CHUNK_SIZE);
    return true;
}

/* --- going ---------------------------------------------------------------------------------------------- */

/* Return the runs of one map; what the kernel refuses stays marked and is tried again. */
static bool pages_purge(struct chunk *chunk, uint64_t *map)
{
    bool any = false;
    for (unsigned from = slotmap_next(map, 0, SLOTMAP_SET); from < CHUNK_SLOTS;) {
        unsigned stop = slotmap_next(map, from, SLOTMAP_CLEAR);
        unsigned char *start = (unsigned char *)chunk + ((size_t)from << SLOT_SHIFT);
        if (platform_purge(start, (size_t)(stop - from) << SLOT_SHIFT)) {
            slotmap_clear(map, from, stop - from);
            alloc_state.dirty_slots -= stop - from;
            any = true;
        }
        from = slotmap_next(map, stop, SLOTMAP_SET);
    }
    return any;
}

static void merge_dirty(struct chunk_header *header)
{
    for (unsigned word = 0; word < MAP_WORDS; word++) {
        header->aged_map[word] |= header->dirty_map[word];
        header->dirty_map[word] = 0;
    }
}

bool chunk_purge_now(struct chunk *chunk)
{
    merge_dirty(&chunk->header);
    return pages_purge(chunk, chunk->header.aged_map);
}

/* The entry goes first: from then on nobody finds the chunk. If the kernel then keeps the memory, so do we.
 */
static bool chunk_unmap(struct chunk *chunk)
{
    struct chunk_header *header = &chunk->header;
    uint32_t index = header->table_index;
    unsigned dirty =
        slotmap_count(header->dirty_map, 0, CHUNK_SLOTS) + slotmap_count(header->aged_map, 0, CHUNK_SLOTS);
    arenas_unlink(chunk);
    map_clear((uintptr_t)chunk, CHUNK_SIZE, (uintptr_t)chunk);
    if (!platform_unmap(chunk, CHUNK_SIZE)) {
        (void)map_set((uintptr_t)chunk, CHUNK_SIZE, (uintptr_t)chunk); /* its leaf is there: cannot fail */
        arenas_link(chunk);
        return false;
    }
    next_hint = (unsigned char *)chunk;
    alloc_state.dirty_slots -= dirty;
    table_remove(index);
    state_count_mapped(-(int64_t)CHUNK_SIZE);
    return true;
}

static bool chunk_is_dirty(const struct chunk_header *header)
{
    return slotmap_count(header->dirty_map, 0, CHUNK_SLOTS) != 0;
}

bool chunks_purge(bool all)
{
    bool any = false, kept = false;
    for (uint32_t i = alloc_state.chunk_count; i-- > 0;) {
        struct chunk *chunk = alloc_state.chunks[i];
        bool rested = all || !chunk_is_dirty(&chunk->header);
        if (chunk->header.free_slots == USABLE_SLOTS && rested) {
            /* One empty chunk stays, its memory returned: a program that lives round the edge of a chunk does
             * not map and unmap it for ever. */
            if (kept && chunk_unmap(chunk)) {
                any = true;
                continue;
            }
            kept = true;
        }
        any |= pages_purge(chunk, chunk->header.aged_map);
        if (all)
            any |= chunk_purge_now(chunk);
        else
            merge_dirty(&chunk->header);
    }
    return any;
}
