/* SPDX-License-Identifier: MIT */
/* What the allocator of the target has handed out, in one ascending array with what the ledger says of it. */
#include "tracer/image/view.h"

#include <stdlib.h>
#include <string.h>

#include "allocator/walk.h"

#define BLOCKS_MAX     (UINT32_MAX - 1)
#define COMPLAINTS_MAX 8u

struct found {
    struct image_block block;
    uint64_t pool;
};

struct collector {
    struct image *image;
    struct found *found;
    size_t count, capacity;
    bool ascending;
    bool no_memory;
    unsigned complaints;
};

/* What the ledger says, as far as it can be true. false: the block is on its way out, its owner has called free. */
static bool fill_from_ledger(const struct walk_block *from, struct image_block *block)
{
    struct ledger_entry entry;
    memcpy(&entry, from->ledger, sizeof(entry));
    block->size = block->capacity;
    if (!from->has_ledger)
        return true;
    block->ignored = entry.flags & LEDGER_IGNORED;
    if (entry.state == LEDGER_FREED)
        return false;
    if (entry.state != LEDGER_LIVE)
        return true;
    if (ledger_size(&entry) <= block->capacity)
        block->size = ledger_size(&entry);
    block->site = entry.site;
    block->kind = entry.kind <= KIND_NEW_ARRAY ? entry.kind : KIND_NONE;
    block->generation = entry.generation;
    block->when = entry.when;
    return true;
}

static bool take_block(void *ctx, const struct walk_block *from)
{
    struct collector *c = ctx;
    struct found found = {.block = {.addr = from->addr, .capacity = from->capacity}, .pool = from->pool};
    if (!fill_from_ledger(from, &found.block))
        return true;
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? c->capacity * 2 : 4096;
        struct found *grown = c->count < BLOCKS_MAX / 2 ? realloc(c->found, capacity * sizeof(*grown)) : NULL;
        c->no_memory = !grown;
        if (!grown)
            return false;
        c->found = grown;
        c->capacity = capacity;
    }
    if (c->count && found.block.addr <= c->found[c->count - 1].block.addr)
        c->ascending = false;
    c->found[c->count++] = found;
    return true;
}

static bool take_region(void *ctx, const struct walk_region *region)
{
    struct collector *c = ctx;
    c->no_memory =
        !ranges_add(&c->image->own, region->start, region->end) ||
        (region->kind == WALK_REGION_METADATA && !ranges_add(&c->image->tables, region->start, region->end));
    return !c->no_memory;
}

static void take_complaint(void *ctx, const char *line)
{
    struct collector *c = ctx;
    if (c->complaints++ < COMPLAINTS_MAX)
        image_note(c->image, "the heap is damaged: %s", line);
}

static int found_compare(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return x->block.addr < y->block.addr ? -1 : x->block.addr > y->block.addr;
}

/* Sort, drop what is there twice, and split into what is kept and what only the finder's construction needs. */
static bool settle(struct image *image, struct collector *c)
{
    if (!c->ascending && c->count)
        qsort(c->found, c->count, sizeof(*c->found), found_compare);
    uint64_t *pools = calloc(c->count + 1, sizeof(*pools));
    image->blocks = calloc(c->count + 1, sizeof(*image->blocks));
    if (!pools || !image->blocks) {
        free(pools);
        return false;
    }
    uint32_t count = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (count && c->found[i].block.addr == image->blocks[count - 1].addr)
            continue;
        pools[count] = c->found[i].pool;
        image->blocks[count++] = c->found[i].block;
    }
    image->block_count = count;
    bool built = finder_build(&image->finder, image->blocks, pools, count);
    free(pools);
    return built;
}

/* Blocks that have no ledger entry are ignored through the table of annotations. */
static void apply_annotations(struct image *image)
{
    for (uint32_t i = 0; i < image->annotation_count; i++) {
        uint64_t offset;
        if (image->annotations[i].kind != ANNOTATION_IGNORE)
            continue;
        uint32_t block = finder_find(&image->finder, image->annotations[i].start, &offset);
        if (block != FINDER_NONE)
            image->blocks[block].ignored = true;
    }
}

static bool read_for_walk(void *ctx, uint64_t addr, void *buf, size_t len)
{
    return memory_read(ctx, addr, buf, len);
}

static enum image_status status_of_walk(struct image *image, enum walk_status walked, bool no_memory)
{
    if (walked == WALK_NO_MEMORY || no_memory)
        return IMAGE_NO_MEMORY;
    if (walked == WALK_OK || walked == WALK_DAMAGED)
        return IMAGE_OK;
    image_note(image, "the target's heap cannot be read: %s", walk_status_text(walked));
    return walked == WALK_OTHER_LAYOUT ? IMAGE_OTHER_LAYOUT : IMAGE_UNREADABLE;
}

static bool add_own_image(struct image *image)
{
    uint64_t start = image->target.own_start, end = image->target.own_end;
    return ranges_add(&image->own, start, end) && ranges_add(&image->tables, start, end);
}

enum image_status blocks_load(struct image *image)
{
    struct collector c = {.image = image, .ascending = true};
    const struct walk_source source = {.read = read_for_walk, .ctx = &image->memory};
    const struct walk_visitor visitor = {
        .block = take_block, .region = take_region, .complain = take_complaint, .ctx = &c};
    enum walk_status walked = walk_allocator(&source, image->target.alloc_root, &visitor);
    enum image_status status = status_of_walk(image, walked, c.no_memory);
    if (c.complaints > COMPLAINTS_MAX)
        image_note(image, "the heap is damaged in %u more places", c.complaints - COMPLAINTS_MAX);
    if (status == IMAGE_OK && (!add_own_image(image) || !settle(image, &c)))
        status = IMAGE_NO_MEMORY;
    free(c.found);
    ranges_normalize(&image->own);
    ranges_normalize(&image->tables);
    if (status == IMAGE_OK)
        apply_annotations(image);
    return status;
}

/* Of a block without a site nobody has looked at the clock. */
bool image_block_age(const struct image *image, uint32_t block, uint64_t *ret_ms)
{
    const struct image_block *of = &image->blocks[block];
    uint64_t frozen = image->target.frozen_ms;
    if (!image->recorded || of->site == 0 || of->kind == KIND_NONE || frozen == 0)
        return false;
    uint64_t at = image->record.began_ms + ledger_sixteenths(of->when) * 1000 / LEDGER_WHEN_PER_S;
    *ret_ms = frozen > at ? frozen - at : 0;
    return true;
}
