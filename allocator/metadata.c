/* SPDX-License-Identifier: MIT */
/* metadata.c - see metadata.h; also platform_map_metadata() of platform.h. */
#include "allocator/metadata.h"

#include <stdbool.h>

#include "allocator/platform.h"
#include "allocator/state.h"

#define REGION_FIRST ((size_t)256 << 10) /* a program under a tight limit pays for its addresses */
/* Regions from half of it on shall have none: what is kept here lies thinly, in tables above all. */
#define HUGE_PAGE     ((size_t)2 << 20)
#define REGION_LAST   ((size_t)4 << 20)  /* a large heap does not map often */
#define PIECES_BYTES  (REGION_FIRST / 8) /* taken at once for small pieces: from the current region */
#define PIECE_MAX     (PIECES_BYTES / 4)
#define SMALLEST_BITS 6 /* 64 bytes */
/* Four sizes from each power of two to the next: a ledger of 5,456 bytes does not take 8,192. All multiples of 64. */
#define QUARTERED_BITS 8
#define BIN_COUNT      ((41 - SMALLEST_BITS) * 4 + 1)

struct spare {
    struct spare *next;
};

/* Everything here: LOCK_METADATA. */
static struct {
    unsigned char *page, *page_end;   /* what is left of the current region */
    unsigned char *piece, *piece_end; /* what is left of the current page of small pieces */
    struct spare *bin[BIN_COUNT];
    uint64_t bytes;
} metadata;

/* The first table. A page of its own for the two words that most programs have in it would be one more resident page:
 * it lies where the library's own long objects begin (preload/sections.ld). */
static struct metadata_table first_table __attribute__((section(".bss.long")));

static bool region_extends(struct metadata_table *table, uint64_t start, uint64_t end)
{
    if (table == NULL || table->count == 0)
        return false;
    struct metadata_region *last = &table->region[table->count - 1];
    /* A reader between the two ends sees the old region or the new one: each word is written whole. */
    if (last->end == start) {
        store_release(&last->end, end);
        return true;
    }
    if (last->start == end) {
        store_release(&last->start, start);
        return true;
    }
    return false;
}

/* A full table gets a successor in the first page of the region being registered. Returns the bytes so used.
 */
static size_t region_register(unsigned char *region, size_t size)
{
    struct metadata_table *table = alloc_root_data.metadata;
    uint64_t start = (uintptr_t)region, end = start + size;
    if (region_extends(table, start, end))
        return 0;
    size_t taken = 0;
    if (table == NULL) {
        table = &first_table;
        store_release(&alloc_root_data.metadata, table);
    } else if (table->count == METADATA_PER_TABLE) {
        struct metadata_table *newer = (struct metadata_table *)(void *)region;
        newer->next = table;
        store_release(&alloc_root_data.metadata, newer);
        table = newer;
        taken = PLATFORM_PAGE;
    }
    table->region[table->count] = (struct metadata_region){start, end};
    store_release(&table->count, table->count + 1);
    return taken;
}

static size_t region_size(void)
{
    size_t size = REGION_FIRST;
    while (size < REGION_LAST && size * 4 <= metadata.bytes)
        size *= 2;
    return size;
}

/* A new current region of `size` usable bytes at least. What was left of the old one is lost: under 1/8 by
 * use. */
static bool region_start(size_t size)
{
    size_t least = size + PLATFORM_PAGE, wanted = least < region_size() ? region_size() : least;
    unsigned char *region = platform_map(wanted, PLATFORM_PAGE);
    if (region == NULL && wanted > least) {
        wanted = least;
        region = platform_map(wanted, PLATFORM_PAGE);
    }
    if (region == NULL)
        return false;
    if (wanted >= HUGE_PAGE / 2)
        platform_avoid_huge_pages(region, wanted);
    metadata.bytes += wanted;
    metadata.page = region + region_register(region, wanted);
    metadata.page_end = region + wanted;
    return true;
}

/* Large requests get a region of their own and leave the current one in place. */
static void *pages_take_alone(size_t size)
{
    unsigned char *page = metadata.page, *page_end = metadata.page_end;
    if (!region_start(size))
        return NULL;
    void *taken = metadata.page;
    metadata.page = page;
    metadata.page_end = page_end;
    return taken;
}

static void *pages_take(size_t size)
{
    if (size > (size_t)(metadata.page_end - metadata.page)) {
        if (size > REGION_FIRST / 8)
            return pages_take_alone(size);
        if (!region_start(size))
            return NULL;
    }
    void *taken = metadata.page;
    metadata.page += size;
    return taken;
}

void *platform_map_metadata(size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    state_lock(LOCK_METADATA);
    void *taken = pages_take((size + PLATFORM_PAGE - 1) & ~(size_t)(PLATFORM_PAGE - 1));
    state_unlock(LOCK_METADATA);
    return taken;
}

void *platform_map_metadata_file(int fd, size_t size)
{
    void *mapped = NULL;
    state_lock(LOCK_METADATA);
    /* A new table would have to lie in the region. */
    bool room = alloc_root_data.metadata == NULL || alloc_root_data.metadata->count < METADATA_PER_TABLE;
    if (room && (mapped = platform_map_file(fd, size)) != NULL)
        (void)region_register(mapped, size);
    state_unlock(LOCK_METADATA);
    return mapped;
}

static unsigned bin_of(size_t size, size_t *ret_rounded)
{
    *ret_rounded = (size_t)1 << SMALLEST_BITS;
    if (size <= *ret_rounded)
        return 0;
    unsigned power = 63 - (unsigned)__builtin_clzll(size - 1), quarter = 3;
    if (power >= QUARTERED_BITS)
        quarter = (unsigned)((size - 1) >> (power - 2) & 3);
    *ret_rounded = (size_t)(quarter + 5) << (power - 2);
    return (power - SMALLEST_BITS) * 4 + quarter + 1;
}

static void *piece_take(size_t size)
{
    if (size > (size_t)(metadata.piece_end - metadata.piece)) {
        size_t batch = size < PIECES_BYTES ? PIECES_BYTES : size;
        unsigned char *pages = pages_take(batch);
        if (pages == NULL)
            return NULL;
        metadata.piece = pages;
        metadata.piece_end = pages + batch;
    }
    void *taken = metadata.piece;
    metadata.piece += size;
    return taken;
}

void *metadata_take(size_t size)
{
    size_t rounded;
    unsigned bin = bin_of(size, &rounded);
    state_lock(LOCK_METADATA);
    struct spare *taken = metadata.bin[bin];
    if (taken != NULL)
        metadata.bin[bin] = taken->next;
    else
        taken = rounded < PIECE_MAX ? piece_take(rounded) : pages_take(rounded);
    state_unlock(LOCK_METADATA);
    return taken;
}

/* Two lines at a time: the processor fetches them in pairs, and what lies there belongs to different threads. */
#define LINES ((size_t)128)

void *metadata_keep(size_t size)
{
    size_t rounded = (size + LINES - 1) & ~(LINES - 1);
    state_lock(LOCK_METADATA);
    void *taken = piece_take(rounded);
    state_unlock(LOCK_METADATA);
    return taken;
}

void metadata_give(void *p, size_t size)
{
    struct spare *spare = p;
    size_t rounded;
    unsigned bin = bin_of(size, &rounded);
    state_lock(LOCK_METADATA);
    spare->next = metadata.bin[bin];
    metadata.bin[bin] = spare;
    state_unlock(LOCK_METADATA);
}

uint64_t metadata_bytes(void)
{
    state_lock(LOCK_METADATA);
    uint64_t bytes = metadata.bytes;
    state_unlock(LOCK_METADATA);
    return bytes;
}
