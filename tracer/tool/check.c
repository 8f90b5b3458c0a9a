/* SPDX-License-Identifier: MIT */
#include "tracer/tool/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/tool/check_parts.h"
#include "tracer/tool/say.h"

/* --- the scan into the graph ------------------------------------------------------------------------------------ */

static bool keep_root_ref(struct check *check, const struct root_ref *ref)
{
    if (check->root_ref_count == check->root_ref_capacity) {
        size_t capacity = check->root_ref_capacity ? check->root_ref_capacity * 2 : 4096;
        struct root_ref *grown = realloc(check->root_refs, capacity * sizeof(*grown));
        if (!grown)
            return false;
        check->root_refs = grown;
        check->root_ref_capacity = capacity;
    }
    check->root_refs[check->root_ref_count++] = *ref;
    return true;
}

static bool on_root_ref(void *ctx, uint32_t root, uint64_t addr, uint32_t block, uint64_t to_offset,
                        enum image_ref kind)
{
    struct check *check = ctx;
    const struct root_ref ref = {block, root, addr};
    (void)to_offset;
    check->no_memory = !keep_root_ref(check, &ref) ||
                       !graph_add_root_ref(check->graph, root, image_root_at(check->image, root)->strict,
                                           block, (enum graph_ref)kind);
    return !check->no_memory;
}

static bool on_block_ref(void *ctx, uint32_t from, uint64_t offset, uint32_t block, uint64_t to_offset,
                         enum image_ref kind)
{
    struct check *check = ctx;
    uint64_t word = offset / 8;
    (void)to_offset;
    check->no_memory = !graph_add_ref(check->graph, from, block,
                                      word < UINT32_MAX ? (uint32_t)word : UINT32_MAX, (enum graph_ref)kind);
    return !check->no_memory;
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    const struct check *check = ctx;
    if (check->request->progress)
        check->request->progress(check->request->ctx, check->phase, done, total);
}

static void enter_phase(struct check *check, const char *phase)
{
    check->phase = phase;
    on_progress(check, 0, 0);
}

static void on_note(void *ctx, const char *line)
{
    const struct check *check = ctx;
    recording_add_note(check->rec, line);
}

static int root_ref_compare(const void *a, const void *b)
{
    const struct root_ref *x = a, *y = b;
    if (x->block != y->block)
        return x->block < y->block ? -1 : 1;
    if (x->root != y->root)
        return x->root < y->root ? -1 : 1;
    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* --- totals ----------------------------------------------------------------------------------------------------- */

bool check_block_is_inherited(const struct check *check, uint32_t block)
{
    uint32_t own = image_record(check->image)->generation;
    return image_blocks(check->image)[block].generation < (own < UINT8_MAX ? own : UINT8_MAX);
}

bool check_head_is_inherited(const struct check *check, uint32_t head)
{
    const uint32_t *members = graph_head_members(check->graph, head);
    for (uint32_t i = 0; i < graph_head_at(check->graph, head).members; i++)
        if (!check_block_is_inherited(check, members[i]))
            return false;
    return true;
}

/* An unreachable block is inherited when it is older than the process, or when it is charged to what is. A member of
 * a cycle that the process itself closed is the process's, however old. */
static bool counts_as_inherited(const struct check *check, uint32_t block, enum graph_class cls,
                                const bool *inherited)
{
    if (inherited[graph_head_of(check->graph, block)])
        return true;
    return cls == GRAPH_INDIRECT && check_block_is_inherited(check, block);
}

static void count_block(struct check *check, uint32_t i, const bool *inherited)
{
    const struct image_block *block = &image_blocks(check->image)[i];
    struct rec_meta *meta = &check->rec->meta;
    enum graph_class cls = graph_class_of(check->graph, i);
    bool unreachable = cls != GRAPH_REACHABLE && cls != GRAPH_POSSIBLE;
    if (unreachable && counts_as_inherited(check, i, cls, inherited)) {
        meta->inherited_blocks++;
        meta->inherited_bytes += block->size;
        return;
    }
    meta->class_blocks[cls]++;
    meta->class_bytes[cls] += block->size;
    if (cls == GRAPH_INDIRECT) {
        struct head_charge *charge = &check->charges[graph_head_of(check->graph, i)];
        charge->blocks++;
        charge->bytes += block->size;
        charge->capacity += block->capacity;
    }
}

static bool count_blocks(struct check *check)
{
    uint32_t heads = graph_head_count(check->graph);
    bool *inherited = calloc((size_t)heads + 1, sizeof(*inherited));
    check->charges = calloc((size_t)heads + 1, sizeof(*check->charges));
    if (!inherited || !check->charges) {
        free(inherited);
        return false;
    }
    for (uint32_t head = 0; head < heads; head++)
        inherited[head] = check_head_is_inherited(check, head);
    for (uint32_t i = 0; i < image_block_count(check->image); i++)
        count_block(check, i, inherited);
    free(inherited);
    return true;
}

static bool fill_meta(struct check *check)
{
    struct rec_meta *meta = &check->rec->meta;
    const struct record_root *record = image_record(check->image);
    meta->threads = image_thread_count(check->image);
    for (uint32_t i = 0; i < meta->threads; i++)
        meta->unparked_threads += image_threads(check->image)[i].slot.state == THREAD_UNPARKED;
    meta->generation = record->generation;
    meta->allocations = record->allocations;
    meta->frees = record->frees;
    meta->unrecorded = record->unrecorded;
    meta->references = graph_reference_count(check->graph);
    return recording_set(&meta->unwinder, record->unwinder);
}

/* --- the check -------------------------------------------------------------------------------------------------- */

static bool refuse(struct check *check, const char *why)
{
    check->rec->meta.verdict = REC_NOT_CHECKED;
    return recording_set(&check->rec->meta.why_not, why);
}

static bool show_groups(struct check *check)
{
    struct check_groups groups = {0};
    bool done = check_make_groups(check, &groups);
    for (uint32_t i = 0; done && i < groups.count; i++) {
        on_progress(check, i, groups.count);
        done = check_show_group(check, &groups.groups[i]);
    }
    check_groups_free(&groups);
    return done;
}

/* From the solved graph to the verdict. */
static bool write_result(struct check *check)
{
    struct rec_meta *meta = &check->rec->meta;
    size_t blocks = (size_t)image_block_count(check->image) + 1;
    check->shown = malloc(blocks * sizeof(*check->shown));
    check->symbols = symbols_new();
    if (!check->shown || !check->symbols)
        return false;
    memset(check->shown, 0xff, blocks * sizeof(*check->shown));
    if (check->root_ref_count)
        qsort(check->root_refs, check->root_ref_count, sizeof(*check->root_refs), root_ref_compare);
    enter_phase(check, "naming");
    if (!fill_meta(check) || !count_blocks(check) || !show_groups(check))
        return false;
    meta->verdict = meta->class_blocks[REC_LOST] || meta->class_blocks[REC_CYCLE] ? REC_LEAKS : REC_CLEAN;
    return true;
}

static bool scan_and_solve(struct check *check)
{
    const struct scan_visitor visitor = {
        .root_ref = on_root_ref, .block_ref = on_block_ref, .progress = on_progress, .ctx = check};
    check->graph = graph_new(image_block_count(check->image), image_root_count(check->image));
    if (!check->graph)
        return false;
    enter_phase(check, "searching");
    if (!image_scan(check->image, &visitor))
        return !check->no_memory && refuse(check, "the process ended while it was searched");
    enter_phase(check, "counting");
    return graph_solve(check->graph) && write_result(check);
}

static bool check_image(struct check *check)
{
    enter_phase(check, "reading");
    switch (image_open(check->request->source, check->request->target, on_note, check, &check->image)) {
    case IMAGE_UNREADABLE:
        return refuse(check, "its heap cannot be read");
    case IMAGE_OTHER_LAYOUT:
        return refuse(check, "the library in it is of another version than this command");
    case IMAGE_NO_MEMORY:
        return false;
    case IMAGE_OK:
        break;
    }
    if (!image_record(check->image))
        return refuse(check, "its allocations were not recorded");
    return scan_and_solve(check);
}

bool check_process(const struct check_request *request, struct recording *rec)
{
    struct check check = {.request = request, .rec = rec};
    uint64_t started = say_monotonic_ms();
    rec->meta.verdict = REC_NOT_CHECKED;
    bool done = recording_set(&rec->meta.memory_source, request->source->name) && check_image(&check);
    if (!done) {
        rec->meta.verdict = REC_NOT_CHECKED;
        recording_set(&rec->meta.why_not, "memory ran out while it was checked");
    }
    check_names_free(&check);
    symbols_free(check.symbols);
    graph_free(check.graph);
    image_close(check.image);
    free(check.root_refs);
    free(check.charges);
    free(check.shown);
    rec->meta.checked = say_calendar_ms();
    rec->meta.check_us = (say_monotonic_ms() - started) * 1000;
    return done;
}
