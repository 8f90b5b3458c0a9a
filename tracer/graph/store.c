/* SPDX-License-Identifier: MIT */
/* store.c - building a graph, and reading it back. */
#include "tracer/graph/store.h"

#include <stdlib.h>
#include <string.h>

/* --- memory --------------------------------------------------------------------------------------------- */
static void *resize_by_malloc(void *ctx, void *old, size_t bytes)
{
    (void)ctx;
    if (bytes == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, bytes);
}

void *graph_array(const struct graph *g, size_t count, size_t size)
{
    /* An array of nothing is still an array: NULL has to mean that memory is out. */
    if (count == 0)
        count = 1;
    if (count > SIZE_MAX / size)
        return NULL;
    return g->resize(g->resize_ctx, NULL, count * size);
}

void graph_release(const struct graph *g, void *array)
{
    if (array)
        g->resize(g->resize_ctx, array, 0);
}

/* One array to `room` elements; on failure it stays as it was, so that graph_free finds everything. */
static bool array_grow(const struct graph *g, void *array_pointer, size_t room, size_t size)
{
    void *old;
    memcpy(&old, array_pointer, sizeof(old));
    if (room > SIZE_MAX / size)
        return false;
    void *grown = g->resize(g->resize_ctx, old, room * size);
    if (!grown)
        return false;
    memcpy(array_pointer, &grown, sizeof(grown));
    return true;
}

/* By half, not to the double: the last step decides the peak, and glibc moves big arrays with mremap, without
 * a copy. */
static size_t grown_room(size_t room)
{
    return room < 1024 ? 1024 : room + room / 2;
}

/* --- building ------------------------------------------------------------------------------------------- */
struct graph *graph_new(uint32_t blocks, uint32_t roots)
{
    return graph_new_using(blocks, roots, resize_by_malloc, NULL);
}

struct graph *graph_new_using(uint32_t blocks, uint32_t roots, graph_resize_fn *resize, void *ctx)
{
    struct graph *g = resize(ctx, NULL, sizeof(*g));
    if (!g)
        return NULL;
    *g = (struct graph){.resize = resize, .resize_ctx = ctx, .blocks = blocks, .roots = roots};
    g->row = graph_array(g, (size_t)blocks + 1, sizeof(*g->row));
    g->counts = graph_array(g, blocks, sizeof(*g->counts));
    if (!g->row || !g->counts) {
        graph_free(g);
        return NULL;
    }
    memset(g->counts, 0, blocks * sizeof(*g->counts));
    return g;
}

void graph_free(struct graph *g)
{
    if (!g)
        return;
    void *arrays[] = {g->row,          g->to,     g->word, g->kind,       g->root_ref, g->counts,  g->cls,
                      g->held_by_root, g->holder, g->head, g->member_row, g->member,   g->indirect};
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
        graph_release(g, arrays[i]);
    g->resize(g->resize_ctx, g, 0);
}

/* Saturating: a count that wrapped round to 0 would be read as "nobody refers to it". */
static void count_up(uint32_t *count)
{
    *count += *count != UINT32_MAX;
}

bool graph_add_root_ref(struct graph *g, uint32_t root, bool strict, uint32_t to, enum graph_ref kind)
{
    if (g->state != GRAPH_OPEN || root >= g->roots || to >= g->blocks)
        return false;
    if (g->root_refs == g->root_ref_room) {
        size_t room = grown_room(g->root_ref_room);
        if (!array_grow(g, &g->root_ref, room, sizeof(*g->root_ref)))
            return false;
        g->root_ref_room = room;
    }
    g->root_ref[g->root_refs++] = (struct root_ref){root, to, (uint8_t)kind, strict};
    struct graph_counts *counts = &g->counts[to];
    count_up(strict ? &counts->from_strict : &counts->from_wide);
    if (kind != GRAPH_START)
        count_up(&counts->interior);
    return true;
}

static bool edges_grow(struct graph *g)
{
    size_t room = grown_room(g->edge_room);
    /* When the second fails the first is merely larger than it need be. */
    if (!array_grow(g, &g->to, room, sizeof(*g->to)) || !array_grow(g, &g->word, room, sizeof(*g->word)) ||
        !array_grow(g, &g->kind, room, sizeof(*g->kind)))
        return false;
    g->edge_room = room;
    return true;
}

/* Rows up to and with `last` begin here: those between the previous source and this one are empty. */
static void rows_begin(struct graph *g, uint32_t last)
{
    while (g->rows_begun <= last)
        g->row[g->rows_begun++] = g->edges;
}

bool graph_add_ref(struct graph *g, uint32_t from, uint32_t to, uint32_t word, enum graph_ref kind)
{
    if (g->state != GRAPH_OPEN || from >= g->blocks || to >= g->blocks)
        return false;
    if (from + 1 < g->rows_begun)
        return false; /* a source that was left: its row is closed */
    if (g->edges == g->edge_room && !edges_grow(g))
        return false;
    rows_begin(g, from);
    g->to[g->edges] = to;
    g->word[g->edges] = word;
    g->kind[g->edges] = (uint8_t)kind;
    g->edges++;

    struct graph_counts *counts = &g->counts[to];
    count_up(from == to ? &counts->from_self : &counts->from_blocks);
    if (from != to && kind != GRAPH_START)
        count_up(&counts->interior);
    return true;
}

/* --- solving -------------------------------------------------------------------------------------------- */
static bool answer_new(struct graph *g)
{
    g->cls = graph_array(g, g->blocks, sizeof(*g->cls));
    g->held_by_root = graph_array(g, g->blocks, sizeof(*g->held_by_root));
    g->holder = graph_array(g, g->blocks, sizeof(*g->holder));
    g->head = graph_array(g, g->blocks, sizeof(*g->head));
    if (!g->cls || !g->held_by_root || !g->holder || !g->head)
        return false;
    memset(g->cls, CLASS_UNREACHED, g->blocks);
    memset(g->held_by_root, 0, g->blocks);
    memset(g->holder, 0xff, g->blocks * sizeof(*g->holder)); /* GRAPH_NONE */
    memset(g->head, 0xff, g->blocks * sizeof(*g->head));
    return true;
}

static bool solve_steps(struct graph *g)
{
    struct components groups = {0};
    bool ok = answer_new(g) && graph_reach(g) && graph_components(g, &groups) && graph_name_heads(g, &groups);
    graph_release(g, groups.of);
    graph_release(g, groups.held);
    return ok;
}

bool graph_solve(struct graph *g)
{
    if (g->state != GRAPH_OPEN)
        return g->state == GRAPH_SOLVED;
    /* Rows 0..blocks; a loop of its own, for blocks may be the largest number a row counter holds. */
    if (g->blocks)
        rows_begin(g, g->blocks - 1);
    g->row[g->blocks] = g->edges;
    g->state = solve_steps(g) ? GRAPH_SOLVED : GRAPH_FAILED;
    return g->state == GRAPH_SOLVED;
}

/* --- reading -------------------------------------------------------------------------------------------- */
enum graph_class graph_class_of(const struct graph *g, uint32_t block)
{
    return g->state == GRAPH_SOLVED ? g->cls[block] : GRAPH_REACHABLE;
}

struct graph_counts graph_counts_of(const struct graph *g, uint32_t block)
{
    return g->counts[block];
}

uint32_t graph_head_count(const struct graph *g)
{
    return g->state == GRAPH_SOLVED ? g->heads : 0;
}

struct graph_head graph_head_at(const struct graph *g, uint32_t head)
{
    uint32_t begin = g->member_row[head], members = g->member_row[head + 1] - begin;
    return (struct graph_head){
        .cls = members == 1 ? GRAPH_LOST : GRAPH_CYCLE,
        .first = g->member[begin],
        .members = members,
        .indirect_blocks = g->indirect[head],
    };
}

uint32_t graph_head_of(const struct graph *g, uint32_t block)
{
    return g->state == GRAPH_SOLVED ? g->head[block] : GRAPH_NONE;
}

const uint32_t *graph_head_members(const struct graph *g, uint32_t head)
{
    return g->member + g->member_row[head];
}

void graph_edges_of(const struct graph *g, uint32_t block, graph_edge_fn *fn, void *ctx)
{
    if (g->state == GRAPH_OPEN)
        return; /* rows have no end yet */
    for (size_t e = g->row[block]; e < g->row[block + 1]; e++)
        if (!fn(ctx, block, g->to[e], g->word[e], g->kind[e]))
            return;
}

void graph_holder_of(const struct graph *g, uint32_t block, uint32_t *ret_root, uint32_t *ret_block)
{
    bool known = g->state == GRAPH_SOLVED && g->holder[block] != GRAPH_NONE;
    bool root = known && g->held_by_root[block];
    *ret_root = root ? g->holder[block] : GRAPH_NONE;
    *ret_block = known && !root ? g->holder[block] : GRAPH_NONE;
}

uint64_t graph_reference_count(const struct graph *g)
{
    return (uint64_t)g->root_refs + g->edges;
}
