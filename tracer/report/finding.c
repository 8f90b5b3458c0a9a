/* SPDX-License-Identifier: MIT */
#include "tracer/report/finding.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/report/print.h"
#include "tracer/report/stack.h"

/* A cycle of ten thousand list nodes is told by its first edges; the JSON has what the recording has. */
#define EDGES_SHOWN  24u
#define STACKS_SHOWN 8u
#define NAMES_SHOWN  6u
#define INDENT       3
#define STACK_INDENT 5

struct view {
    const struct recording *rec;
    const struct report_options *options;
    const struct rec_group *g;
    FILE *out;
};

/* --- the head line -------------------------------------------------------------------------------------- */

static void print_size(const struct view *v, uint64_t blocks, uint64_t bytes)
{
    print_count(v->out, blocks, "block");
    fputs(", ", v->out);
    print_count(v->out, bytes, "byte");
}

static void print_what(const struct view *v)
{
    const struct rec_group *g = v->g;
    if (g->cls != REC_CYCLE) {
        fprintf(v->out, "%s: ", g->cls == REC_POSSIBLE ? "POSSIBLY LOST" : "LOST");
        print_size(v, g->blocks, g->bytes);
        return;
    }
    uint64_t each = g->instances == 0 ? g->blocks : g->blocks / g->instances;
    if (g->instances <= 1) {
        fputs("CYCLE of ", v->out);
        print_size(v, g->blocks, g->bytes);
        return;
    }
    bool equal =
        each * g->instances == g->blocks; /* cycles of one shape are; but a group need not be of one */
    fprintf(v->out, "%s CYCLES of ", print_digits(g->instances).text);
    print_count(v->out, equal ? each : g->blocks, "block");
    fputs(equal ? " each, " : " together, ", v->out);
    print_count(v->out, g->bytes, "byte");
}

static void print_head(const struct view *v, uint32_t number)
{
    const struct rec_group *g = v->g;
    bool colour = v->options->colour;
    enum style style = g->cls == REC_POSSIBLE || g->suppressed_by != REC_NONE ? STYLE_YELLOW : STYLE_RED;
    fprintf(v->out, "%" PRIu32 ". %s", number, print_style(colour, style));
    print_what(v);
    fputs(print_style(colour, STYLE_PLAIN), v->out);
    if (g->indirect_blocks > 0) {
        fprintf(v->out, "; %s alone hold%s ", g->blocks == 1 ? "it" : "they", g->blocks == 1 ? "s" : "");
        print_size(v, g->indirect_blocks, g->indirect_bytes);
    }
    if (g->suppressed_by != REC_NONE)
        fputs(" (suppressed)", v->out);
    fputc('\n', v->out);
}

/* --- the counts ----------------------------------------------------------------------------------------- */

static void print_counts(const struct view *v)
{
    const struct rec_group *g = v->g;
    uint64_t known = g->from_inside + g->from_self;
    uint64_t outside = g->references > known ? g->references - known : 0;
    fprintf(v->out, "%*scount %s", INDENT, "", print_digits(g->references).text);
    if (g->cls == REC_LOST && outside + g->from_inside == 0) {
        if (g->blocks > 1)
            fputs(" each", v->out);
        fputs(g->from_self > 0 ? ": only words of its own refer to a block" : ": nothing refers to a block",
              v->out);
        fputc('\n', v->out);
        return;
    }
    if (g->cls == REC_CYCLE && outside == 0) {
        fprintf(v->out, ", all from inside the cycle%s", g->instances > 1 ? "s" : "");
    } else if (g->cls == REC_POSSIBLE && known == 0) {
        fputs(", but none that surely holds", v->out);
    } else {
        fprintf(v->out, ": %s from outside", print_digits(outside).text);
        if (g->from_inside > 0)
            fprintf(v->out, ", %s from inside", print_digits(g->from_inside).text);
    }
    if (g->from_self > 0)
        fprintf(v->out, ", %s from a block to itself", print_digits(g->from_self).text);
    fputc('\n', v->out);
}

/* --- when ------------------------------------------------------------------------------------------------ */

/* " 3 s to 12 min ago"; the blocks are no older. Nothing when it is not known. */
static void print_ages(const struct view *v)
{
    const struct rec_group *g = v->g;
    if (g->aged_blocks == 0)
        return;
    struct age newest = print_age(g->newest_ms), oldest = print_age(g->oldest_ms);
    if (strcmp(newest.unit, oldest.unit) != 0)
        fprintf(v->out, " %" PRIu64 " %s to", newest.value, newest.unit);
    else if (newest.value != oldest.value)
        fprintf(v->out, " %" PRIu64 " to", newest.value);
    fprintf(v->out, " %" PRIu64 " %s ago", oldest.value, oldest.unit);
}

/* A cycle's blocks may come from many places. */
static void print_cycle_ages(const struct view *v)
{
    if (v->g->aged_blocks == 0)
        return;
    fprintf(v->out, "%*sallocated", INDENT, "");
    print_ages(v);
    fputc('\n', v->out);
}

/* --- edges ---------------------------------------------------------------------------------------------- */

static void print_holder(const struct view *v, const struct rec_edge *e)
{
    if (e->from_root == REC_NONE) {
        fprintf(v->out, "block #%" PRIu32 " +%" PRIu64, e->from_block + 1, e->offset);
        return;
    }
    const struct rec_root *r = &v->rec->roots[e->from_root];
    print_clean(v->out, r->name, 0);
    if (!r->strict)
        fputs(" (may or may not be in use)", v->out);
    if (v->options->addresses)
        fprintf(v->out, " at 0x%" PRIx64, e->offset);
}

static void print_edges(const struct view *v)
{
    uint32_t shown = v->g->edge_count < EDGES_SHOWN ? v->g->edge_count : EDGES_SHOWN;
    for (uint32_t i = 0; i < shown; i++) {
        const struct rec_edge *e = &v->rec->edges[v->g->first_edge + i];
        fprintf(v->out, "%*s", STACK_INDENT, "");
        print_holder(v, e);
        fprintf(v->out, " -> block #%" PRIu32, e->to_block + 1);
        if (e->to_offset != 0)
            fprintf(v->out, " +%" PRIu64, e->to_offset);
        fputc('\n', v->out);
    }
    if (v->g->edge_count > shown) {
        fprintf(v->out, "%*s... and ", STACK_INDENT, "");
        print_count(v->out, v->g->edge_count - shown, "more edge");
        fputc('\n', v->out);
    }
}

/* --- stacks --------------------------------------------------------------------------------------------- */

/* Members of one instance, or holders, in the order of their stacks. */
struct members {
    uint32_t *blocks;
    uint32_t count;
};

static int by_site(const void *left, const void *right, void *context)
{
    const struct recording *rec = ((const struct view *)context)->rec;
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    const struct rec_block *x = &rec->blocks[a];
    const struct rec_block *y = &rec->blocks[b];
    if (x->site != y->site)
        return x->site < y->site ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return (a > b) - (a < b);
}

/* The edges draw one instance; its blocks are the ones to explain. */
static uint32_t instance_shown(const struct view *v)
{
    const struct rec_group *g = v->g;
    if (g->edge_count > 0)
        return v->rec->blocks[v->rec->edges[g->first_edge].to_block].instance;
    return g->block_count > 0 ? v->rec->blocks[g->first_block].instance : 0;
}

static bool collect_members(const struct view *v, struct members *ret)
{
    const struct rec_group *g = v->g;
    uint32_t instance = instance_shown(v);
    *ret = (struct members){calloc(g->block_count + (size_t)1, sizeof *ret->blocks), 0};
    if (ret->blocks == NULL)
        return false;
    for (uint32_t i = 0; i < g->block_count; i++)
        if (v->rec->blocks[g->first_block + i].instance == instance)
            ret->blocks[ret->count++] = g->first_block + i;
    struct view context = *v; /* qsort_r's context is not const */
    qsort_r(ret->blocks, ret->count, sizeof *ret->blocks, by_site, &context);
    return true;
}

static bool same_origin(const struct recording *rec, uint32_t a, uint32_t b)
{
    return rec->blocks[a].site == rec->blocks[b].site && rec->blocks[a].kind == rec->blocks[b].kind;
}

static void print_block_name(const struct view *v, uint32_t block)
{
    const struct rec_block *b = &v->rec->blocks[block];
    fprintf(v->out, "block #%" PRIu32 " (", block + 1);
    print_count(v->out, b->size, "byte");
    if (v->options->addresses)
        fprintf(v->out, " at 0x%" PRIx64, b->addr);
    fputc(')', v->out);
}

static void print_names(const struct view *v, const uint32_t *blocks, uint32_t count)
{
    fprintf(v->out, "%*s", INDENT, "");
    for (uint32_t i = 0; i < count && i < NAMES_SHOWN; i++) {
        fputs(i == 0 ? "" : ", ", v->out);
        print_block_name(v, blocks[i]);
    }
    if (count > NAMES_SHOWN)
        fprintf(v->out, " and %s more", print_digits(count - NAMES_SHOWN).text);
}

static void print_cycle_stacks(const struct view *v)
{
    struct members m;
    if (!collect_members(v, &m))
        return;
    uint32_t stacks = 0, next = 0;
    for (uint32_t i = 0; i < m.count && stacks < STACKS_SHOWN; i = next, stacks++) {
        for (next = i + 1; next < m.count && same_origin(v->rec, m.blocks[i], m.blocks[next]);)
            next++;
        print_names(v, m.blocks + i, next - i);
        fprintf(v->out, " from %s in\n", stack_kind_name(v->rec->blocks[m.blocks[i]].kind));
        stack_print(v->rec, v->options, v->rec->blocks[m.blocks[i]].site, STACK_INDENT, v->out);
    }
    if (next < m.count)
        fprintf(v->out, "%*s... and %s more blocks, allocated elsewhere\n", INDENT, "",
                print_digits(m.count - next).text);
    free(m.blocks);
}

static void print_sizes(const struct view *v)
{
    uint64_t low = UINT64_MAX, high = 0;
    for (uint32_t i = 0; i < v->g->block_count; i++) {
        uint64_t size = v->rec->blocks[v->g->first_block + i].size;
        low = size < low ? size : low;
        high = size > high ? size : high;
    }
    if (v->g->block_count < 2)
        return;
    if (low == high)
        fprintf(v->out, ", %s bytes each,", print_digits(low).text);
    else
        fprintf(v->out, ", %s to %s bytes each,", print_digits(low).text, print_digits(high).text);
}

static void print_own_stack(const struct view *v)
{
    fprintf(v->out, "%*sallocated", INDENT, "");
    print_ages(v);
    print_sizes(v);
    fprintf(v->out, " by %s in", stack_kind_name(v->g->kind));
    if (v->options->addresses && v->g->block_count > 0)
        fprintf(v->out, " (the first at 0x%" PRIx64 ")", v->rec->blocks[v->g->first_block].addr);
    fputc('\n', v->out);
    stack_print(v->rec, v->options, v->g->site, STACK_INDENT, v->out);
}

void finding_print(const struct recording *rec, const struct report_options *options, uint32_t group,
                   uint32_t number, FILE *out)
{
    struct view v = {rec, options, &rec->groups[group], out};
    print_head(&v, number);
    print_counts(&v);
    if (v.g->cls == REC_POSSIBLE && v.g->edge_count > 0)
        fprintf(out, "%*sheld only by\n", INDENT, "");
    print_edges(&v);
    if (v.g->cls == REC_CYCLE && v.g->block_count > 0) {
        print_cycle_ages(&v);
        print_cycle_stacks(&v);
    } else
        print_own_stack(&v);
    fputc('\n', out);
}
