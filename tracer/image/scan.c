/* SPDX-License-Identifier: MIT */
/*
 * The scan: every aligned word of every root, then of every block; those that are pointers into blocks are told.
 *
 * Neighbouring blocks are read together, a bite at a time; large ones in bites of their own, without the pages that
 * nobody ever wrote to.
 */
#include "tracer/image/view.h"

#include <string.h>

#define LARGE_BLOCK ((uint64_t)256 << 10)
#define GAP_MAX     ((uint64_t)32 << 10) /* read over a hole of this size rather than ask twice */
#define NO_REF      (-1)
#define BLOCK_ALIGN 16u

struct scan {
    struct image *image;
    const struct scan_visitor *visitor;
    struct interior interior;
    bool unrecorded_only;  /* of the root, see struct root_extra */
    uint32_t root;         /* while roots are scanned */
    uint32_t from;         /* while blocks are; FINDER_NONE before */
    uint64_t done, total;  /* bytes, for progress */
    uint64_t root_missing; /* bytes of globals that could not be read */
    uint64_t block_missing;
    uint32_t blocks_with_holes;
};

/* What kind of reference `word`, which holds blocks[to].addr + offset, is; NO_REF for one past the size asked for. */
static int classify(const struct scan *scan, uint32_t to, uint64_t offset, uint64_t word)
{
    const struct image *image = scan->image;
    const struct image_block *block = &image->blocks[to];
    const struct image_block *holder = scan->from == FINDER_NONE ? NULL : &image->blocks[scan->from];
    if (offset > block->size)
        return NO_REF;
    if (interior_is_accepted(&scan->interior, block, offset, word, holder))
        return IMAGE_ACCEPTED;
    return offset == block->size ? IMAGE_END : IMAGE_INTERIOR;
}

static bool tell(struct scan *scan, uint64_t word, uint32_t to, uint64_t offset)
{
    if (scan->unrecorded_only && scan->image->blocks[to].kind != KIND_NONE)
        return true;
    int kind = offset == 0 ? IMAGE_START : classify(scan, to, offset, word);
    if (kind == NO_REF)
        return true;
    const struct scan_visitor *visitor = scan->visitor;
    if (scan->from == FINDER_NONE)
        return visitor->root_ref(visitor->ctx, scan->root, word, to, offset, (enum image_ref)kind);
    return visitor->block_ref(visitor->ctx, scan->from, word - scan->image->blocks[scan->from].addr, to,
                              offset, (enum image_ref)kind);
}

/* A value where no block lives may be the end of the one before, when that is full. Whoever has it can reach the block
 * by stepping back; it holds weakly, since it may as well be left over from a neighbour that was freed. */
static uint32_t find_full_before(const struct image *image, uint64_t value, uint64_t *ret_offset)
{
    uint64_t offset;
    uint32_t to = value % BLOCK_ALIGN ? FINDER_NONE : finder_find(&image->finder, value - 1, &offset);
    if (to == FINDER_NONE || offset + 1 != image->blocks[to].size)
        return FINDER_NONE;
    /* A large block may end where a table of the allocator's begins, and the thread has a pointer to that. */
    if (ranges_find(&image->tables, value) != NULL)
        return FINDER_NONE;
    *ret_offset = offset + 1;
    return to;
}

/* memory_words_fn */
static bool scan_words(void *ctx, uint64_t addr, const uint64_t *words, size_t count)
{
    struct scan *scan = ctx;
    const struct finder *finder = &scan->image->finder;
    for (size_t i = 0; i < count; i++) {
        uint64_t offset;
        uint32_t to = finder_find(finder, words[i], &offset);
        if (to == FINDER_NONE && words[i] - finder->low <= finder->span)
            to = find_full_before(scan->image, words[i], &offset);
        if (to != FINDER_NONE && !tell(scan, addr + i * 8, to, offset))
            return false;
    }
    return true;
}

static void advance(struct scan *scan, uint64_t bytes)
{
    scan->done += bytes;
    if (scan->visitor->progress)
        scan->visitor->progress(scan->visitor->ctx, scan->done, scan->total);
}

/* --- roots ------------------------------------------------------------------------------------------------------ */

static bool scan_memory_roots(struct scan *scan)
{
    struct image *image = scan->image;
    for (scan->root = 0; scan->root < image->root_count; scan->root++) {
        const struct image_root *root = &image->roots[scan->root];
        uint64_t missing = 0;
        scan->unrecorded_only = image->extras[scan->root].unrecorded_only;
        if (!memory_stream(&image->memory, root->start, root->end, image->extras[scan->root].touched_only,
                           scan_words, scan, &missing))
            return false;
        if (root->kind == ROOT_GLOBAL)
            scan->root_missing += missing;
        advance(scan, root->end - root->start);
    }
    scan->unrecorded_only = false;
    return true;
}

static bool scan_values(struct scan *scan)
{
    struct image *image = scan->image;
    for (size_t i = 0; i < image->value_count; i++) {
        const struct root_value *value = &image->values[i];
        uint64_t offset;
        uint32_t to = finder_find(&image->finder, value->value, &offset);
        if (to == FINDER_NONE)
            continue;
        scan->root = value->root;
        if (value->holds && offset
                ? !scan->visitor->root_ref(scan->visitor->ctx, value->root, 0, to, offset, IMAGE_ACCEPTED)
                : !tell(scan, 0, to, offset))
            return false;
    }
    return true;
}

/* --- blocks ----------------------------------------------------------------------------------------------------- */

/* One block by itself: a large one, or one with a page that cannot be read. */
static bool scan_block(struct scan *scan, uint32_t i)
{
    const struct image_block *block = &scan->image->blocks[i];
    uint64_t missing = 0;
    scan->from = i;
    if (!memory_stream(&scan->image->memory, block->addr, block->addr + block->size,
                       block->size >= LARGE_BLOCK, scan_words, scan, &missing))
        return false;
    scan->block_missing += missing;
    scan->blocks_with_holes += missing > 0;
    return true;
}

/* The end of the batch that starts with block i: what fits in one bite without large holes. */
static uint32_t batch_end(const struct image *image, uint32_t i)
{
    uint64_t start = image->blocks[i].addr, last = start + image->blocks[i].size;
    uint32_t end = i + 1;
    for (; end < image->block_count; end++) {
        const struct image_block *block = &image->blocks[end];
        if (block->addr > last + GAP_MAX || block->addr + block->size > start + MEMORY_BITE)
            break;
        last = block->addr + block->size > last ? block->addr + block->size : last;
    }
    return end;
}

static bool scan_batch(struct scan *scan, uint32_t first, uint32_t end)
{
    struct image *image = scan->image;
    uint64_t start = image->blocks[first].addr & ~UINT64_C(7);
    uint64_t stop = start;
    for (uint32_t i = first; i < end; i++)
        if (image->blocks[i].addr + image->blocks[i].size > stop)
            stop = image->blocks[i].addr + image->blocks[i].size;
    if (stop - start > MEMORY_BITE)
        stop = start + MEMORY_BITE;
    uint64_t got = image->source->read(image->source->ctx, start, image->memory.bite, (size_t)(stop - start));
    uint32_t i = first;
    for (; i < end; i++) {
        const struct image_block *block = &image->blocks[i];
        if (block->addr % 8 || block->addr + block->size > start + got)
            break;
        scan->from = i;
        if (!scan_words(scan, block->addr, image->memory.bite + (block->addr - start) / 8,
                        (size_t)(block->size / 8)))
            return false;
    }
    for (; i < end; i++) /* what lies behind a page that could not be read; this overwrites the bite */
        if (!scan_block(scan, i))
            return false;
    advance(scan, stop - start);
    return true;
}

static bool scan_blocks(struct scan *scan)
{
    const struct image *image = scan->image;
    for (uint32_t i = 0, end; i < image->block_count; i = end) {
        bool large = image->blocks[i].size >= LARGE_BLOCK;
        end = large ? i + 1 : batch_end(image, i);
        if (large ? !scan_block(scan, i) : !scan_batch(scan, i, end))
            return false;
        if (large)
            advance(scan, image->blocks[i].size);
    }
    return true;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

static uint64_t bytes_to_scan(const struct image *image)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < image->root_count; i++)
        total += image->roots[i].end - image->roots[i].start;
    for (uint32_t i = 0; i < image->block_count; i++)
        total += image->blocks[i].size;
    return total;
}

static void note_what_is_missing(const struct scan *scan)
{
    if (scan->root_missing)
        image_note(scan->image,
                   "%llu bytes of global data cannot be read; what only they refer to counts as unreachable",
                   (unsigned long long)scan->root_missing);
    if (scan->blocks_with_holes)
        image_note(scan->image, "%u blocks have pages that cannot be read (%llu bytes): skipped",
                   scan->blocks_with_holes, (unsigned long long)scan->block_missing);
}

bool image_scan(struct image *image, const struct scan_visitor *visitor)
{
    uint64_t word;
    struct scan scan = {
        .image = image,
        .visitor = visitor,
        .from = FINDER_NONE,
        .total = bytes_to_scan(image),
        .interior = {&image->memory, &image->constant, image->tls_words, image->tls_word_count}};
    if (!scan_memory_roots(&scan) || !scan_values(&scan) || !scan_blocks(&scan))
        return false;
    /* A target that died meanwhile reads as nothing, and nothing would look like everything unreachable. */
    if (!memory_read(&image->memory, image->target.alloc_root, &word, sizeof(word))) {
        image_note(image, "the target went away during the scan");
        return false;
    }
    note_what_is_missing(&scan);
    return true;
}
