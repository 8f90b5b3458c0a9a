/* SPDX-License-Identifier: MIT */
/*
 * walk_chunk.c - the walker's inner half: one chunk, its pools, their live blocks.
 *
 * A chunk's head is read in one piece, so is a pool's memory (for the links of its free blocks) and its
 * ledger. Where a pool's memory cannot be read in one piece, because the program took away a page of it,
 * links are read one by one.
 */
#include <string.h>

#include "allocator/pool_pages.h"
#include "allocator/walk_parts.h"

/* One pool as the walker sees it. */
struct view {
    const struct pool *pool; /* the copy of its descriptor */
    uint64_t start;
    uint32_t carved; /* blocks */
    bool whole;      /* walk->memory holds the carved part */
    uint64_t free[POOL_CAPACITY_MAX / 64];
};

/* --- free lists ----------------------------------------------------------------------------------------- */

static bool read_free_block(struct walk *walk, const struct view *view, uint64_t offset,
                            struct free_block *ret)
{
    if (!view->whole)
        return walk_read(walk, view->start + offset, ret, sizeof *ret);
    memcpy(ret, walk->memory + offset, sizeof *ret);
    return true;
}

/* Mark every block of a list. A list ends, is left where it meets marked blocks (one list is being moved to
 * another place: the rest is marked already), or is damaged. Blocks past `carved` are being carved this moment. */
static void mark_list(struct walk *walk, struct view *view, uint64_t list)
{
    const struct pool *pool = view->pool;
    for (uint64_t addr; list != 0 && ((addr = list ^ walk->secret) & LIST_END) == 0;) {
        uint64_t offset = addr - view->start, index = offset / pool->block_size;
        if (index >= pool->capacity || offset % pool->block_size != 0) {
            walk_complain(walk, "a free list leaves its pool", view->start);
            return;
        }
        uint64_t bit = (uint64_t)1 << index % 64;
        if ((view->free[index / 64] & bit) != 0)
            return;
        view->free[index / 64] |= bit;
        struct free_block block;
        if (index >= view->carved)
            view->whole = false;
        if (!read_free_block(walk, view, offset, &block)) {
            walk_complain(walk, "an unreadable free block", addr);
            return;
        }
        if (block.mark != list) {
            walk_complain(walk, "an overwritten free block", addr);
            return;
        }
        list = block.link;
    }
}

/* The bin of the pool's owner, if this is the pool it hands out from: one heap is kept, since the pools of a chunk
 * mostly have one owner. */
static uint64_t pool_bin(struct walk *walk, const struct view *view)
{
    uint64_t addr = view->pool->owner & ~(uint64_t)POOL_UNLISTED;
    if (addr == 0)
        return 0;
    if (addr != walk->heap_addr) {
        walk->heap_addr = 0;
        if (!walk_read(walk, addr, walk->heap, sizeof *walk->heap)) {
            walk_complain(walk, "an unreadable heap", addr);
            return 0;
        }
        walk->heap_addr = addr;
    }
    uint64_t list = walk->heap->bin[view->pool->size_class], first = list ^ walk->secret;
    bool here = first - view->start < (uint64_t)view->pool->capacity * view->pool->block_size;
    return (first & LIST_END) == 0 && here ? list : 0;
}

/* Blocks that touch a purged page are on no list. */
static void mark_purged(struct view *view)
{
    if (view->pool->purged == 0)
        return;
    for (uint32_t i = 0; i < view->carved; i++)
        if (pool_block_is_purged(view->pool, i))
            view->free[i / 64] |= (uint64_t)1 << i % 64;
}

static void mark_free(struct walk *walk, struct view *view)
{
    const struct pool *pool = view->pool;
    uint32_t head = REMOTE_HEAD(pool->remote);
    uint64_t bin = pool_bin(walk, view);
    if (bin == 0 && pool->torn_list == 0 && head == 0 && ((pool->free_list ^ walk->secret) & LIST_END) != 0)
        return;
    view->whole = walk_read(walk, view->start, walk->memory, (size_t)view->carved * pool->block_size);
    mark_list(walk, view, bin);
    mark_list(walk, view, pool->free_list);
    mark_list(walk, view, pool->torn_list);
    if (head != 0)
        mark_list(walk, view, (view->start + (uint64_t)(head - 1) * 16) ^ walk->secret);
}

/* --- one pool ------------------------------------------------------------------------------------------- */

static bool pool_is_sane(const struct pool *pool, unsigned slot)
{
    uint64_t bytes = (uint64_t)pool->slots << SLOT_SHIFT;
    return pool->slots >= 1 && pool->slots <= POOL_SLOTS_MAX && slot + pool->slots <= CHUNK_SLOTS &&
           pool->block_size >= 16 && pool->block_size % 16 == 0 && pool->block_size <= POOL_SIZE_MAX &&
           pool->capacity >= 1 && pool->capacity <= POOL_CAPACITY_MAX &&
           (uint64_t)pool->capacity * pool->block_size <= bytes &&
           pool->carved <= (uint32_t)pool->capacity * pool->block_size &&
           pool->carved % pool->block_size == 0 && pool->size_class < CLASS_COUNT;
}

static bool read_ledger(struct walk *walk, const struct view *view)
{
    uint64_t addr = (uint64_t)(uintptr_t)view->pool->ledger;
    if (addr == 0)
        return false;
    if (walk_read(walk, addr, walk->ledger, (size_t)view->carved * ALLOC_LEDGER_BYTES))
        return true;
    walk_complain(walk, "an unreadable ledger", addr);
    return false;
}

static void tell_whole(struct walk *walk, const struct view *view)
{
    const struct pool *pool = view->pool;
    struct walk_pool whole = {.start = view->start,
                              .bytes = (uint64_t)pool->slots << SLOT_SHIFT,
                              .kind = WALK_POOL,
                              .block_size = pool->block_size,
                              .capacity = pool->capacity,
                              .ledger = (uint64_t)(uintptr_t)pool->ledger,
                              .ledger_bytes = pool->ledger == NULL ? 0 : pool->capacity * ALLOC_LEDGER_BYTES};
    for (uint32_t i = 0; i < view->carved; i++)
        whole.live += (view->free[i / 64] >> i % 64 & 1) == 0;
    walk_tell_pool(walk, &whole);
}

static void tell_live(struct walk *walk, const struct view *view)
{
    struct walk_block block = {.capacity = view->pool->block_size, .kind = WALK_POOL, .pool = view->start};
    block.has_ledger = read_ledger(walk, view);
    for (uint32_t i = 0; i < view->carved && !walk->stopped; i++) {
        if ((view->free[i / 64] >> i % 64 & 1) != 0)
            continue;
        block.addr = view->start + (uint64_t)i * view->pool->block_size;
        if (block.has_ledger)
            memcpy(block.ledger, walk->ledger + (size_t)i * ALLOC_LEDGER_BYTES, sizeof block.ledger);
        walk_block(walk, &block);
    }
}

static void walk_pool(struct walk *walk, unsigned slot, uint64_t start)
{
    struct view view = {.pool = &walk->head->pools[slot], .start = start};
    if (!pool_is_sane(view.pool, slot)) {
        walk_complain(walk, "a damaged pool descriptor for", start);
        return;
    }
    view.carved = (uint32_t)(view.pool->carved / view.pool->block_size);
    if (view.carved != 0) {
        mark_free(walk, &view);
        mark_purged(&view);
        if (walk->visitor->block != NULL)
            tell_live(walk, &view);
    }
    tell_whole(walk, &view);
}

static void walk_span(struct walk *walk, unsigned slot, uint64_t start)
{
    const struct pool *span = &walk->head->pools[slot];
    if (span->slots < 1 || slot + span->slots > CHUNK_SLOTS) {
        walk_complain(walk, "a damaged span descriptor for", start);
        return;
    }
    struct walk_block block = {.addr = start,
                               .capacity = (uint64_t)span->slots << SLOT_SHIFT,
                               .kind = WALK_SPAN,
                               .pool = start,
                               .has_ledger = true};
    memcpy(block.ledger, span->span_ledger, sizeof block.ledger);
    walk_block(walk, &block);
    struct walk_pool whole = {.start = start,
                              .bytes = block.capacity,
                              .kind = WALK_SPAN,
                              .block_size = block.capacity,
                              .capacity = 1,
                              .live = 1};
    walk_tell_pool(walk, &whole);
}

/* --- one chunk ------------------------------------------------------------------------------------------ */

static void walk_slot(struct walk *walk, unsigned slot, uint64_t start)
{
    switch (walk->head->pools[slot].state) {
    case SLOT_POOL:
        walk_pool(walk, slot, start);
        break;
    case SLOT_SPAN:
        walk_span(walk, slot, start);
        break;
    case SLOT_FREE:
    case SLOT_RUN:
    case SLOT_CACHED:
        break;
    default:
        walk_complain(walk, "a damaged slot descriptor for", start);
    }
}

void walk_chunk(struct walk *walk, uint64_t base)
{
    if (!walk_read(walk, base, walk->head, sizeof *walk->head)) {
        walk_complain(walk, "an unreadable chunk head", base);
        return;
    }
    unsigned slots = walk->head->header.mapped_slots;
    if (walk->head->header.magic != CHUNK_MAGIC || slots <= HEAD_SLOTS || slots > CHUNK_SLOTS) {
        walk_complain(walk, "a damaged chunk head", base);
        return;
    }
    walk_region(walk, base, base + ((uint64_t)slots << SLOT_SHIFT), WALK_REGION_CHUNK);
    if (walk->visitor->block == NULL && walk->visitor->pool == NULL)
        return;
    for (unsigned slot = HEAD_SLOTS; slot < slots && !walk->stopped; slot++)
        walk_slot(walk, slot, base + ((uint64_t)slot << SLOT_SHIFT));
}
