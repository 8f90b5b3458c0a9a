/* SPDX-License-Identifier: MIT */
/*
 * verify.c - one validator for the whole heap: every invariant of layout.h, chunk.h, heap.h and remote.h that
 * can be seen at rest, and the running totals against a recount. Takes the locks, allocates nothing.
 */
#include <string.h>

#include "allocator/address_map.h"
#include "allocator/chunk.h"
#include "allocator/pool.h"
#include "allocator/pool_pages.h"
#include "allocator/remote.h"
#include "allocator/slotmap.h"
#include "allocator/state.h"
#include "allocator/verify_large.h"

struct verify {
    void (*complain)(void *ctx, const char *line);
    void *ctx;
    size_t breaches;
    uint64_t dirty, mapped; /* recounted */
};

/* --- telling -------------------------------------------------------------------------------------------- */

static void breach(struct verify *verify, const char *what, const void *where)
{
    static const char digits[] = "0123456789abcdef";
    char line[128];
    size_t length = strlen(what);
    verify->breaches++;
    if (verify->complain == NULL || length > sizeof line - 24)
        return;
    memcpy(line, what, length);
    memcpy(line + length, " at 0x", 6);
    length += 6;
    for (int shift = 44; shift >= 0; shift -= 4)
        line[length++] = digits[(uintptr_t)where >> shift & 15];
    line[length] = 0;
    verify->complain(verify->ctx, line);
}

static void expect(struct verify *verify, bool holds, const char *what, const void *where)
{
    if (!holds)
        breach(verify, what, where);
}

/* --- pools ---------------------------------------------------------------------------------------------- */

/* Marks the list's blocks; the number of blocks, or a breach. */
static uint32_t check_list(struct verify *verify, const struct pool *pool, uint64_t list, uint64_t *marks)
{
    uint64_t secret = alloc_root_data.secret;
    uint32_t count = 0;
    for (const struct free_block *block; (block = list_first(list, secret)) != NULL; count++) {
        uint32_t offset = pool_offset(pool, (uintptr_t)block), index = pool_index(pool, offset);
        if (offset >= pool->carved || index * pool->block_size != offset) {
            breach(verify, "a free list leaves its pool", pool);
            return count;
        }
        if ((marks[index / 64] >> index % 64 & 1) != 0) {
            breach(verify, "a block is on free lists twice", block);
            return count;
        }
        marks[index / 64] |= (uint64_t)1 << index % 64;
        expect(verify, !pool_block_is_purged(pool, index), "a block of a purged page is on a list", block);
        if (!free_block_seems(block, secret)) {
            breach(verify, "a free block was written to", block);
            return count;
        }
        list = block->link;
    }
    return count;
}

/* What the pool's owner has of it on its bin. */
static uint64_t pool_bin(const struct pool *pool)
{
    const struct heap *heap = (const struct heap *)(pool->owner & ~POOL_UNLISTED);
    return heap->current[pool->size_class] == pool ? heap->bin[pool->size_class] : 0;
}

static void check_lists(struct verify *verify, const struct pool *pool)
{
    uint64_t marks[POOL_CAPACITY_MAX / 64] = {0};
    uint64_t word = load_acquire(&pool->remote), secret = alloc_root_data.secret;
    uint64_t came_back = remote_list(pool, word, secret);
    if (came_back == 0 && REMOTE_HEAD(word) != 0) {
        breach(verify, "a remote list leaves its pool", pool);
        return;
    }
    uint32_t own = check_list(verify, pool, load_relaxed(&pool->free_list), marks);
    uint32_t bin = check_list(verify, pool, pool_bin(pool), marks);
    uint32_t remote = check_list(verify, pool, came_back, marks);
    expect(verify, remote == REMOTE_COUNT(word), "a remote list has another length than its count", pool);
    if (pool->torn || load_relaxed(&alloc_root_data.corruptions) != 0)
        return;
    expect(verify, pool_used(pool) >= remote + bin, "more blocks came back than were out", pool);
    expect(verify,
           pool_index(pool, (uint32_t)pool->carved) == pool_used(pool) + own + pool_purged_blocks(pool),
           "a pool's count is wrong", pool);
    expect(verify, pool->blocks == pool_used(pool) + own, "a pool's blocks are not counted", pool);
}

static bool heap_is_known(const struct heap *heap)
{
    if (heap == &alloc_state.orphanage || heap == &alloc_state.shared)
        return true;
    for (const struct heap *known = alloc_state.all_heaps; known != NULL; known = known->next_all)
        if (known == heap)
            return true;
    return false;
}

/* A watched pool is where its last push found it: had there been something to learn, it would be QUEUED. */
static void check_watch(struct verify *verify, const struct pool *pool, unsigned notify, bool orphan)
{
    if (notify != REMOTE_WATCHED || pool->torn)
        return;
    bool unlisted = (pool->owner & POOL_UNLISTED) != 0;
    expect(verify, !unlisted || REMOTE_HEAD(load_acquire(&pool->remote)) == 0,
           "a full pool was freed into, and its owner does not know", pool);
    expect(verify, !orphan || !pool_is_empty(pool), "an empty orphan was forgotten", pool);
}

static void check_pool(struct verify *verify, const struct pool *pool)
{
    unsigned notify = REMOTE_NOTIFY(load_acquire(&pool->remote));
    uintptr_t owner = load_relaxed(&pool->owner);
    bool orphan = (owner & ~POOL_UNLISTED) == (uintptr_t)&alloc_state.orphanage;
    if (pool->block_size == 0 || pool->size_class >= CLASS_COUNT ||
        pool->carved > (uint32_t)pool->capacity * pool->block_size) {
        breach(verify, "a pool's descriptor is damaged", pool);
        return;
    }
    expect(verify, heap_is_known((const struct heap *)(owner & ~POOL_UNLISTED)), "a pool of no known heap",
           pool);
    expect(verify, pool->torn || pool_used(pool) <= pool->capacity, "a pool has more out than it holds",
           pool);
    expect(verify, pool->start == (uintptr_t)slot_memory(pool), "a pool does not know its place", pool);
    expect(verify, pool->torn || !pool->full || (pool->used == 1 && (owner & POOL_UNLISTED) != 0),
           "a pool that is listed counts as full", pool);
    expect(verify, pool->next != NULL && pool->next->prev == pool && pool->prev->next == pool,
           "a pool is on no ring", pool);
    bool watched = orphan || (owner & POOL_UNLISTED) != 0;
    expect(verify, watched == (notify != REMOTE_QUIET), "nobody would learn of a remote free", pool);
    check_watch(verify, pool, notify, orphan);
    check_lists(verify, pool);
}

/* --- rings ---------------------------------------------------------------------------------------------- */

static void check_ring(struct verify *verify, const struct heap *heap, const struct pool *first, int class)
{
    const struct pool *pool = first;
    uintptr_t owner = (uintptr_t)heap | (class < 0 ? POOL_UNLISTED : 0);
    do {
        expect(verify, pool->owner == owner, "a heap lists a pool that is not its own", pool);
        expect(verify, class < 0 || pool->size_class == class, "a pool is on another class's ring", pool);
        pool = pool->next;
    } while (pool != NULL && pool != first);
}

static void check_own(struct verify *verify, const struct heap *heap)
{
    for (uint64_t i = 0; i <= heap->own_mask; i++) {
        const struct pool *pool = heap->own[i];
        if (pool != EMPTY_POOL)
            expect(verify,
                   pool->purged == 0 && (pool->owner & ~POOL_UNLISTED) == (uintptr_t)heap &&
                       pool->state == SLOT_POOL,
                   "a heap would free into a pool that is not its own", pool);
    }
}

static void check_heap(struct verify *verify, const struct heap *heap)
{
    for (int class = 0; class < CLASS_COUNT; class ++) {
        if (heap->current[class] != EMPTY_POOL)
            check_ring(verify, heap, heap->current[class], class);
        else
            expect(verify, heap->bin[class] == 0 || heap->bin[class] == NO_LIST(alloc_root_data.secret),
                   "a bin has blocks of no pool", heap);
    }
    if (heap->full != NULL)
        check_ring(verify, heap, heap->full, -1);
    check_own(verify, heap);
}

/* --- chunks --------------------------------------------------------------------------------------------- */

/* Returns the slot after what starts at `slot`. */
static unsigned check_slot(struct verify *verify, const struct chunk *chunk, unsigned slot)
{
    const struct pool *pool = &chunk->pools[slot];
    bool is_free = slot_bit(chunk->header.free_map, slot);
    expect(verify, is_free == (load_acquire(&pool->state) == SLOT_FREE),
           "the free map contradicts a slot's state", pool);
    if (pool->state == SLOT_FREE) {
        expect(verify, pool->owner == 0, "a free slot has an owner", pool);
        return slot + 1;
    }
    if (pool->state == SLOT_RUN || pool->slots == 0 || slot + pool->slots > chunk_slots(chunk)) {
        breach(verify, "a slot continues nothing", pool);
        return slot + 1;
    }
    for (unsigned i = 1; i < pool->slots; i++) {
        expect(verify, pool[i].state == SLOT_RUN && pool[i].distance == i, "a run is broken", &pool[i]);
        expect(verify, pool[i].owner == 0, "a later slot of a run has an owner", &pool[i]);
    }
    if (pool->state == SLOT_POOL)
        check_pool(verify, pool);
    return slot + pool->slots;
}

static void check_chunk(struct verify *verify, const struct chunk *chunk)
{
    const struct chunk_header *header = &chunk->header;
    expect(verify, header->magic == CHUNK_MAGIC, "a chunk's head is damaged", chunk);
    expect(verify, map_entry((uintptr_t)chunk) == (uintptr_t)chunk, "the address map forgot a chunk", chunk);
    expect(verify, header->free_slots == slotmap_count(header->free_map, 0, CHUNK_SLOTS),
           "a chunk's count of free slots is wrong", chunk);
    expect(verify, alloc_state.chunk_room[header->table_index] >= chunk_longest_run(chunk),
           "a chunk has more room than its bound", chunk);
    for (unsigned word = 0; word < MAP_WORDS; word++) {
        expect(verify, ((header->dirty_map[word] | header->aged_map[word]) & ~header->free_map[word]) == 0,
               "a used slot counts as dirty", chunk);
        expect(verify, (header->dirty_map[word] & header->aged_map[word]) == 0, "a slot is dirty twice",
               chunk);
    }
    verify->dirty += slotmap_count(header->dirty_map, 0, CHUNK_SLOTS);
    verify->dirty += slotmap_count(header->aged_map, 0, CHUNK_SLOTS);
    expect(verify, slotmap_next(header->free_map, chunk_slots(chunk), SLOTMAP_SET) == CHUNK_SLOTS,
           "a chunk has free slots past its end", chunk);
    for (unsigned slot = HEAD_SLOTS; slot < chunk_slots(chunk);)
        slot = check_slot(verify, chunk, slot);
}

/* --- arenas, totals ------------------------------------------------------------------------------------- */

static bool arena_is_due(const struct chunk *chunk, unsigned arena)
{
    return (chunk->header.virgin_arenas >> arena & 1) == 0 &&
           slotmap_count(chunk->header.free_map, arena * ARENA_SLOTS, ARENA_SLOTS) != 0;
}

static void check_arena_bins(struct verify *verify)
{
    uint64_t binned = 0, expected = 0;
    for (unsigned bin = 1; bin <= ARENA_SLOTS; bin++) {
        uint32_t id = alloc_state.arena_bin[bin];
        while (id != 0) {
            struct chunk *chunk = (struct chunk *)chunk_base((uintptr_t)id << ARENA_SHIFT);
            unsigned first = id % CHUNK_ARENAS * ARENA_SLOTS;
            expect(verify, slotmap_count(chunk->header.free_map, first, ARENA_SLOTS) == bin,
                   "an arena is in the wrong bin", chunk);
            binned++;
            id = chunk->pools[first].arena_next;
        }
    }
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++)
        for (unsigned arena = 0; arena < CHUNK_ARENAS; arena++)
            expected += arena_is_due(alloc_state.chunks[i], arena);
    expect(verify, binned == expected, "an arena is in no bin", NULL);
}

static void check_totals(struct verify *verify)
{
    struct alloc_stats stats;
    expect(verify, verify->dirty == alloc_state.dirty_slots, "the count of dirty slots is wrong", NULL);
    alloc_stats_read(&stats);
    uint64_t heads = stats.chunks * (HEAD_SLOTS << SLOT_SHIFT);
    expect(verify, stats.mapped == load_relaxed(&alloc_root_data.mapped), "the mapped total is wrong", NULL);
    expect(verify,
           stats.mapped == stats.live_capacity + stats.free_in_pools + stats.cached + stats.purged + heads,
           "the statistics do not add up", NULL);
}

size_t alloc_verify(void (*complain)(void *ctx, const char *line), void *ctx)
{
    struct verify verify = {.complain = complain, .ctx = ctx};
    state_start();
    state_lock(LOCK_SHARED_HEAP);
    state_lock(LOCK_PURGE);
    state_lock(LOCK_ARENA);
    for (uint32_t i = 0; i < alloc_state.chunk_count; i++)
        check_chunk(&verify, alloc_state.chunks[i]);
    for (const struct heap *heap = alloc_state.all_heaps; heap != NULL; heap = heap->next_all)
        check_heap(&verify, heap);
    check_heap(&verify, &alloc_state.orphanage);
    check_heap(&verify, &alloc_state.shared);
    check_arena_bins(&verify);
    const void *where = NULL;
    const char *what = verify_large(&where);
    expect(&verify, what == NULL, what == NULL ? "" : what, where);
    state_unlock(LOCK_ARENA);
    state_unlock(LOCK_PURGE);
    state_unlock(LOCK_SHARED_HEAP);
    check_totals(&verify);
    return verify.breaches;
}
