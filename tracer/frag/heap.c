/* SPDX-License-Identifier: MIT */
#include "tracer/frag/heap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "allocator/layout.h"
#include "allocator/walk.h"

#define PAGE        4096u
#define CHUNK_PAGES (CHUNK_SIZE / PAGE)
#define SLOT_PAGES  (SLOT_SIZE / PAGE)
#define PRESENT     ((uint64_t)1 << 63)

struct range {
    uint64_t start, end;
};
struct ranges {
    struct range *at;
    size_t count, capacity;
};

/* One look. The chunk that is being walked is kept until the next one begins. */
struct look {
    struct frag_heap *heap;
    int pid, pagemap;
    bool no_memory;
    uint64_t chunk;             /* 0: none */
    bool resident[CHUNK_PAGES]; /* of the chunk */
    bool covered[CHUNK_SLOTS];  /* by a pool or span that was told */
    struct ranges metadata, ledgers;
};

static bool ranges_add(struct ranges *ranges, uint64_t start, uint64_t end)
{
    if (ranges->count == ranges->capacity) {
        size_t more = ranges->capacity ? ranges->capacity * 2 : 64;
        struct range *grown = realloc(ranges->at, more * sizeof(*grown));
        if (grown == NULL)
            return false;
        ranges->at = grown;
        ranges->capacity = more;
    }
    ranges->at[ranges->count++] = (struct range){start, end};
    return true;
}

/* --- the target's memory --------------------------------------------------------------------------------- */

static bool read_target(void *ctx, uint64_t addr, void *buf, size_t len)
{
    const struct look *look = ctx;
    struct iovec local = {buf, len}, remote = {(void *)(uintptr_t)addr, len};
    return process_vm_readv(look->pid, &local, 1, &remote, 1, 0) == (ssize_t)len;
}

/* resident[i]: page i of the range is there. What cannot be read is taken as not there. */
static void read_residency(const struct look *look, uint64_t start, size_t pages, bool *resident)
{
    uint64_t entry[512];
    for (size_t at = 0; at < pages;) {
        size_t wanted = pages - at < 512 ? pages - at : 512;
        ssize_t n = pread(look->pagemap, entry, wanted * 8, (off_t)((start / PAGE + at) * 8));
        size_t have = n > 0 ? (size_t)n / 8 : 0;
        for (size_t i = 0; i < wanted; i++)
            resident[at + i] = i < have && (entry[i] & PRESENT) != 0;
        at += wanted;
    }
}

static uint64_t count_bytes(const bool *resident, size_t pages)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < pages; i++)
        bytes += resident[i] ? PAGE : 0;
    return bytes;
}

static uint64_t resident_bytes(const struct look *look, uint64_t start, uint64_t end)
{
    bool resident[512];
    uint64_t bytes = 0;
    for (uint64_t at = start; at < end; at += sizeof(resident) * PAGE) {
        size_t pages = (end - at + PAGE - 1) / PAGE;
        pages = pages < sizeof(resident) ? pages : sizeof(resident);
        read_residency(look, at, pages, resident);
        bytes += count_bytes(resident, pages);
    }
    return bytes;
}

/* --- tiles ----------------------------------------------------------------------------------------------- */

static void add_tile(struct look *look, const struct heap_tile *tile)
{
    struct frag_heap *heap = look->heap;
    if (heap->tiles == heap->tile_capacity) {
        size_t more = heap->tile_capacity ? heap->tile_capacity * 2 : 256;
        struct heap_tile *grown = realloc(heap->tile, more * sizeof(*grown));
        if (grown == NULL) {
            look->no_memory = true;
            return;
        }
        heap->tile = grown;
        heap->tile_capacity = more;
    }
    heap->tile[heap->tiles++] = *tile;
}

/* Cut at the ends of arenas: a span may be longer. */
static void add_tiles(struct look *look, struct heap_tile tile, uint64_t bytes)
{
    uint64_t end = tile.start + bytes;
    while (tile.start < end) {
        uint64_t arena_end = (tile.start | (((uint64_t)1 << ARENA_SHIFT) - 1)) + 1;
        uint64_t stop = arena_end < end ? arena_end : end;
        tile.bytes = (uint32_t)(stop - tile.start);
        add_tile(look, &tile);
        tile.start = stop;
    }
}

/* --- chunks ---------------------------------------------------------------------------------------------- */

static uint64_t slot_address(const struct look *look, unsigned slot)
{
    return look->chunk + ((uint64_t)slot << SLOT_SHIFT);
}

/* A slot that is nobody's. Runs of equal ones would make fewer tiles, and a picture no different. */
static void end_free_slot(struct look *look, unsigned slot)
{
    uint64_t bytes = count_bytes(look->resident + slot * SLOT_PAGES, SLOT_PAGES);
    struct heap_tile tile = {.start = slot_address(look, slot), .kind = bytes ? TILE_CACHED : TILE_GONE};
    look->heap->cached += bytes;
    add_tiles(look, tile, SLOT_SIZE);
}

static void count_arenas(struct look *look)
{
    for (unsigned arena = 0; arena < CHUNK_ARENAS; arena++) {
        bool used = false;
        for (unsigned i = 0; i < ARENA_SLOTS; i++)
            used |= look->covered[arena * ARENA_SLOTS + i];
        look->heap->arenas += used;
    }
}

/* What was not told of the chunk is free. */
static void chunk_end(struct look *look)
{
    if (look->chunk == 0)
        return;
    uint64_t head = count_bytes(look->resident, HEAD_SLOTS * SLOT_PAGES);
    look->heap->metadata += head;
    add_tiles(look, (struct heap_tile){.start = look->chunk, .kind = TILE_HEAD}, HEAD_SLOTS << SLOT_SHIFT);
    for (unsigned slot = HEAD_SLOTS; slot < CHUNK_SLOTS; slot++)
        if (!look->covered[slot])
            end_free_slot(look, slot);
    count_arenas(look);
    look->chunk = 0;
}

static void chunk_begin(struct look *look, uint64_t base)
{
    chunk_end(look);
    look->chunk = base;
    look->heap->chunks++;
    memset(look->covered, 0, sizeof(look->covered));
    read_residency(look, base, CHUNK_PAGES, look->resident);
}

/* --- what the walk tells --------------------------------------------------------------------------------- */

static bool see_region(void *ctx, const struct walk_region *region)
{
    struct look *look = ctx;
    if (region->kind == WALK_REGION_CHUNK)
        chunk_begin(look, region->start);
    if (region->kind == WALK_REGION_METADATA)
        look->no_memory |= !ranges_add(&look->metadata, region->start, region->end);
    else
        look->heap->mapped += region->end - region->start;
    return !look->no_memory;
}

/* Resident bytes of a pool that has live blocks: theirs first, the rest is free inside. */
static void share_out(struct look *look, const struct walk_pool *pool, uint64_t resident)
{
    struct frag_heap *heap = look->heap;
    struct heap_class *class = &heap->class[account_bucket(pool->block_size)];
    uint64_t live = pool->live * pool->block_size;
    heap->capacity += live;
    heap->blocks += pool->live;
    class->pools++;
    class->live += pool->live;
    class->capacity += live;
    if (resident >= live) {
        heap->external += resident - live;
        class->free += resident - live;
    } else {
        heap->untouched += live - resident;
    }
}

static void see_slots(struct look *look, const struct walk_pool *pool)
{
    struct heap_tile tile = {.start = pool->start, .block_size = (uint32_t)pool->block_size};
    size_t page = (size_t)((pool->start - look->chunk) / PAGE), pages = (size_t)(pool->bytes / PAGE);
    if (pool->start < look->chunk || page + pages > CHUNK_PAGES)
        return;
    uint64_t resident = count_bytes(look->resident + page, pages);
    memset(look->covered + page / SLOT_PAGES, true, pages / SLOT_PAGES);
    if (pool->live != 0) {
        share_out(look, pool, resident);
        tile.kind = pool->kind == WALK_SPAN ? TILE_SPAN : TILE_POOL;
        tile.occupancy = (float)((double)(pool->live * pool->block_size) / (double)pool->bytes);
    } else {
        look->heap->cached += resident;
        tile.kind = resident ? TILE_CACHED : TILE_GONE;
    }
    add_tiles(look, tile, pool->bytes);
}

/* As metadata memory is handed out. */
static uint64_t power_of_two(uint64_t bytes)
{
    uint64_t power = 64;
    while (power < bytes)
        power *= 2;
    return power;
}

static bool see_pool(void *ctx, const struct walk_pool *pool)
{
    struct look *look = ctx;
    struct frag_heap *heap = look->heap;
    heap->pools += pool->kind == WALK_POOL;
    heap->spans += pool->kind == WALK_SPAN;
    if (pool->kind == WALK_MAPPING) {
        heap->mappings++;
        heap->mapping_bytes += pool->bytes;
        share_out(look, pool, resident_bytes(look, pool->start, pool->start + pool->bytes));
    } else {
        see_slots(look, pool);
    }
    if (pool->ledger_bytes != 0)
        look->no_memory |=
            !ranges_add(&look->ledgers, pool->ledger, pool->ledger + power_of_two(pool->ledger_bytes));
    return !look->no_memory;
}

static void see_damage(void *ctx, const char *line)
{
    struct look *look = ctx;
    (void)line;
    look->heap->damage++;
}

/* --- metadata -------------------------------------------------------------------------------------------- */

static int by_start(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* Bytes of ledgers in [start, end), of which `resident` says page by page what is there. Both lists ascend, so `next`
 * only goes forward. */
static uint64_t ledger_bytes(const struct look *look, uint64_t start, uint64_t end, const bool *resident,
                             size_t *next)
{
    uint64_t bytes = 0;
    const struct ranges *ledgers = &look->ledgers;
    while (*next < ledgers->count && ledgers->at[*next].end <= start)
        ++*next;
    for (size_t i = *next; i < ledgers->count && ledgers->at[i].start < end; i++) {
        uint64_t from = ledgers->at[i].start > start ? ledgers->at[i].start : start;
        uint64_t to = ledgers->at[i].end < end ? ledgers->at[i].end : end;
        for (uint64_t at = from; at < to;) {
            uint64_t page_end = (at / PAGE + 1) * PAGE, stop = page_end < to ? page_end : to;
            bytes += resident[(at - start) / PAGE] ? stop - at : 0;
            at = stop;
        }
    }
    return bytes;
}

static void count_metadata(struct look *look)
{
    bool resident[512];
    size_t next = 0;
    struct frag_heap *heap = look->heap;
    if (look->metadata.count == 0)
        return;
    qsort(look->metadata.at, look->metadata.count, sizeof(struct range), by_start);
    if (look->ledgers.count > 0)
        qsort(look->ledgers.at, look->ledgers.count, sizeof(struct range), by_start);
    for (size_t i = 0; i < look->metadata.count; i++) {
        uint64_t end = look->metadata.at[i].end;
        for (uint64_t at = look->metadata.at[i].start; at < end; at += sizeof(resident) * PAGE) {
            size_t pages = (end - at) / PAGE < sizeof(resident) ? (end - at) / PAGE : sizeof(resident);
            read_residency(look, at, pages, resident);
            uint64_t ledgers = ledger_bytes(look, at, at + pages * PAGE, resident, &next);
            heap->ledger += ledgers;
            uint64_t all = count_bytes(resident, pages);
            heap->metadata += all > ledgers ? all - ledgers : 0;
        }
    }
}

/* --- the whole ------------------------------------------------------------------------------------------- */

static enum heap_status heap_status_of(enum walk_status status, const struct look *look)
{
    switch (status) {
    case WALK_OK:
    case WALK_DAMAGED:
        return look->no_memory ? HEAP_NO_MEMORY : HEAP_OK;
    case WALK_NO_MEMORY:
    case WALK_STOPPED:
        return HEAP_NO_MEMORY;
    case WALK_NOT_OURS:
    case WALK_OTHER_LAYOUT:
        return HEAP_OTHER_LAYOUT;
    case WALK_UNREADABLE:
        break;
    }
    return HEAP_UNREADABLE;
}

static int by_address(const void *a, const void *b)
{
    const struct heap_tile *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static void finish(struct frag_heap *heap, const struct account_page *page)
{
    if (heap->tiles > 0)
        qsort(heap->tile, heap->tiles, sizeof(*heap->tile), by_address);
    heap->asked = page->live_bytes;
    heap->internal = heap->capacity > heap->asked ? heap->capacity - heap->asked : 0;
    heap->resident = heap->asked + heap->internal + heap->external + heap->cached + heap->metadata +
                     heap->ledger - heap->untouched;
    for (unsigned i = 0; i < ACCOUNT_BUCKETS; i++)
        heap->class[i].asked = page->bucket[i].bytes;
}

static enum heap_status look_at(struct look *look, const struct account_page *page)
{
    struct walk_source source = {.read = read_target, .ctx = look};
    struct walk_visitor visitor = {
        .region = see_region, .pool = see_pool, .complain = see_damage, .ctx = look};
    enum walk_status status = walk_allocator(&source, page->root, &visitor);
    chunk_end(look);
    count_metadata(look);
    finish(look->heap, page);
    return heap_status_of(status, look);
}

enum heap_status frag_heap_read(int pid, const struct account_page *page, struct frag_heap *ret)
{
    char path[64];
    struct frag_heap heap = {0};
    snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
    struct look *look = calloc(1, sizeof(*look));
    if (look == NULL)
        return HEAP_NO_MEMORY;
    look->heap = &heap;
    look->pid = pid;
    look->pagemap = open(path, O_RDONLY | O_CLOEXEC);
    enum heap_status status = look->pagemap < 0 ? HEAP_UNREADABLE : look_at(look, page);
    if (look->pagemap >= 0)
        close(look->pagemap);
    free(look->metadata.at);
    free(look->ledgers.at);
    free(look);
    if (status == HEAP_OK)
        *ret = heap;
    else
        frag_heap_free(&heap);
    return status;
}

void frag_heap_deduct_ledger(struct frag_heap *heap, uint64_t most)
{
    uint64_t spare = most > heap->ledger ? most - heap->ledger : 0;
    spare = spare < heap->metadata ? spare : heap->metadata;
    heap->metadata -= spare;
    heap->ledger += spare;
}

bool frag_heap_copy(const struct frag_heap *heap, struct frag_heap *ret)
{
    size_t bytes = heap->tiles * sizeof(*heap->tile);
    struct heap_tile *tile = malloc(bytes + 1);
    if (tile == NULL)
        return false;
    if (bytes > 0)
        memcpy(tile, heap->tile, bytes);
    *ret = *heap;
    ret->tile = tile;
    ret->tile_capacity = heap->tiles;
    return true;
}

void frag_heap_free(struct frag_heap *heap)
{
    free(heap->tile);
    *heap = (struct frag_heap){0};
}
