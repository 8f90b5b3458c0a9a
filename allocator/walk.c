/* SPDX-License-Identifier: MIT */
/* walk.c - see walk.h. From the root down the address map; chunks and pools are in walk_chunk.c. */
#include "allocator/walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/emergency.h"
#include "allocator/layout.h"
#include "allocator/walk_parts.h"

/* More linked metadata tables than this is a cycle: 64 of them describe 16 GiB in 1 MiB regions. */
#define METADATA_TABLES_MAX 4096

void walk_complain(struct walk *walk, const char *what, uint64_t addr)
{
    char line[160];
    walk->damaged = true;
    if (walk->visitor->complain == NULL)
        return;
    snprintf(line, sizeof line, "%s at 0x%llx", what, (unsigned long long)addr);
    walk->visitor->complain(walk->visitor->ctx, line);
}

bool walk_read(struct walk *walk, uint64_t addr, void *buf, size_t len)
{
    return walk->source->read(walk->source->ctx, addr, buf, len);
}

void walk_region(struct walk *walk, uint64_t start, uint64_t end, enum walk_region_kind kind)
{
    struct walk_region region = {start, end, kind};
    if (walk->visitor->region != NULL && !walk->stopped)
        walk->stopped = !walk->visitor->region(walk->visitor->ctx, &region);
}

void walk_block(struct walk *walk, const struct walk_block *block)
{
    if (walk->visitor->block != NULL && !walk->stopped)
        walk->stopped = !walk->visitor->block(walk->visitor->ctx, block);
}

void walk_tell_pool(struct walk *walk, const struct walk_pool *pool)
{
    if (walk->visitor->pool != NULL && !walk->stopped)
        walk->stopped = !walk->visitor->pool(walk->visitor->ctx, pool);
}

/* --- mappings ------------------------------------------------------------------------------------------- */

static bool mapping_is_sane(const struct mapping *mapping)
{
    uint64_t end = mapping->start + mapping->length;
    return mapping->length != 0 && end > mapping->start && end >> MAP_BITS == 0 &&
           mapping->start % 4096 == 0 && mapping->length % 4096 == 0;
}

/* Every granule of a mapping leads to it; the one it starts in tells it. */
static void walk_mapping(struct walk *walk, uint64_t granule, uint64_t addr)
{
    struct mapping mapping;
    if (!walk_read(walk, addr, &mapping, sizeof mapping)) {
        walk_complain(walk, "unreadable mapping descriptor", addr);
        return;
    }
    if (mapping.start >> CHUNK_SHIFT != granule >> CHUNK_SHIFT)
        return;
    if (!mapping_is_sane(&mapping) || mapping.state > MAPPING_CACHED) {
        walk_complain(walk, "damaged mapping descriptor", addr);
        return;
    }
    if (mapping.state == MAPPING_UNUSED)
        return;
    walk_region(walk, mapping.start, mapping.start + mapping.length, WALK_REGION_MAPPING);
    if (mapping.state != MAPPING_LIVE)
        return;
    struct walk_block block = {.addr = mapping.start,
                               .capacity = mapping.length,
                               .kind = WALK_MAPPING,
                               .pool = mapping.start,
                               .has_ledger = true};
    memcpy(block.ledger, mapping.ledger, sizeof block.ledger);
    walk_block(walk, &block);
    struct walk_pool whole = {.start = mapping.start,
                              .bytes = mapping.length,
                              .kind = WALK_MAPPING,
                              .block_size = mapping.length,
                              .capacity = 1,
                              .live = 1};
    walk_tell_pool(walk, &whole);
}

/* --- the address map ------------------------------------------------------------------------------------ */

static void walk_entry(struct walk *walk, uint64_t granule, uint64_t entry)
{
    if (entry == 0)
        return;
    if ((entry & MAP_MAPPING) != 0)
        walk_mapping(walk, granule, entry & ~(uint64_t)MAP_MAPPING);
    else if ((entry & MAP_EMERGENCY) != 0)
        walk_emergency(walk, granule, entry & ~(uint64_t)MAP_EMERGENCY);
    else if (entry == granule)
        walk_chunk(walk, granule);
    else
        walk_complain(walk, "damaged address map entry for the granule", granule);
}

static void walk_leaf(struct walk *walk, uint64_t root_index, uint64_t addr)
{
    if (!walk_read(walk, addr, walk->leaf, sizeof *walk->leaf)) {
        walk_complain(walk, "unreadable address map leaf", addr);
        return;
    }
    uint64_t first = root_index << (MAP_LEAF_BITS + CHUNK_SHIFT);
    for (uint64_t i = 0; i < 1u << MAP_LEAF_BITS && !walk->stopped; i++)
        walk_entry(walk, first + (i << CHUNK_SHIFT), walk->leaf->entry[i]);
}

static enum walk_status walk_map(struct walk *walk, uint64_t map)
{
    size_t size = sizeof(uint64_t) << MAP_ROOT_BITS;
    uint64_t *leaves = malloc(size);
    if (leaves == NULL)
        return WALK_NO_MEMORY;
    if (!walk_read(walk, map, leaves, size)) {
        free(leaves);
        return WALK_UNREADABLE;
    }
    for (uint64_t i = 0; i < 1u << MAP_ROOT_BITS && !walk->stopped; i++)
        if (leaves[i] != 0)
            walk_leaf(walk, i, leaves[i]);
    free(leaves);
    return WALK_OK;
}

/* --- metadata memory ------------------------------------------------------------------------------------ */

static void walk_metadata_table(struct walk *walk, const struct metadata_table *table, uint64_t addr)
{
    if (table->count > METADATA_PER_TABLE) {
        walk_complain(walk, "damaged metadata table", addr);
        return;
    }
    for (uint64_t i = 0; i < table->count && !walk->stopped; i++) {
        const struct metadata_region *region = &table->region[i];
        if (region->start < region->end && region->end >> MAP_BITS == 0)
            walk_region(walk, region->start, region->end, WALK_REGION_METADATA);
        else
            walk_complain(walk, "damaged metadata region in the table", addr);
    }
}

static void walk_metadata(struct walk *walk, uint64_t addr)
{
    struct metadata_table table;
    for (int i = 0; addr != 0 && !walk->stopped; i++) {
        if (i == METADATA_TABLES_MAX) {
            walk_complain(walk, "endless metadata tables", addr);
            return;
        }
        if (!walk_read(walk, addr, &table, sizeof table)) {
            walk_complain(walk, "unreadable metadata table", addr);
            return;
        }
        walk_metadata_table(walk, &table, addr);
        addr = (uint64_t)(uintptr_t)table.next;
    }
}

/* --- the whole ------------------------------------------------------------------------------------------ */

static enum walk_status root_check(const struct alloc_root *root)
{
    if (memcmp(root->magic, LAYOUT_MAGIC, sizeof root->magic) != 0)
        return WALK_NOT_OURS;
    bool same = root->layout_version == LAYOUT_VERSION && root->root_size == sizeof *root &&
                root->pool_size == sizeof(struct pool) && root->heap_size == sizeof(struct heap) &&
                root->mapping_size == sizeof(struct mapping) && root->chunk_shift == CHUNK_SHIFT &&
                root->slot_shift == SLOT_SHIFT && root->map_leaf_bits == MAP_LEAF_BITS &&
                root->map_root_bits == MAP_ROOT_BITS && root->ledger_bytes == ALLOC_LEDGER_BYTES;
    return same ? WALK_OK : WALK_OTHER_LAYOUT;
}

static enum walk_status walk_everything(struct walk *walk, const struct alloc_root *root)
{
    enum walk_status status = walk_map(walk, (uint64_t)(uintptr_t)root->map);
    if (status != WALK_OK)
        return status;
    walk_metadata(walk, (uint64_t)(uintptr_t)root->metadata);
    if (walk->stopped)
        return WALK_STOPPED;
    return walk->damaged ? WALK_DAMAGED : WALK_OK;
}

enum walk_status walk_allocator(const struct walk_source *source, uint64_t root_addr,
                                const struct walk_visitor *visitor)
{
    struct walk walk = {.source = source, .visitor = visitor};
    struct alloc_root root;
    if (!walk_read(&walk, root_addr, &root, sizeof root))
        return WALK_UNREADABLE;
    enum walk_status status = root_check(&root);
    if (status != WALK_OK)
        return status;
    walk.secret = root.secret;
    walk.leaf = malloc(sizeof *walk.leaf);
    walk.head = malloc(sizeof *walk.head);
    walk.memory = malloc(WALK_POOL_BYTES);
    walk.ledger = malloc((size_t)POOL_CAPACITY_MAX * ALLOC_LEDGER_BYTES);
    walk.heap = malloc(sizeof *walk.heap);
    if (walk.leaf == NULL || walk.head == NULL || walk.memory == NULL || walk.ledger == NULL ||
        walk.heap == NULL)
        status = WALK_NO_MEMORY;
    else
        status = walk_everything(&walk, &root);
    free(walk.leaf);
    free(walk.head);
    free(walk.memory);
    free(walk.ledger);
    free(walk.heap);
    return status;
}

const char *walk_status_text(enum walk_status status)
{
    switch (status) {
    case WALK_OK:
        return "complete";
    case WALK_DAMAGED:
        return "the allocator's structures are damaged";
    case WALK_UNREADABLE:
        return "the allocator's root cannot be read";
    case WALK_NOT_OURS:
        return "there is no heaptally allocator there";
    case WALK_OTHER_LAYOUT:
        return "the allocator is of another version of heaptally";
    case WALK_NO_MEMORY:
        return "out of memory";
    case WALK_STOPPED:
        return "stopped";
    }
    return "unknown";
}
