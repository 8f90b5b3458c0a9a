/* SPDX-License-Identifier: MIT */
/*
 * store.h - what a graph is made of; for the files of this folder only.
 *
 *      row[b] ----.                    row[b+1] ---.
 *                 v                                v
 *      to:    [ .. | 7 | 7 | 2 | 9 | .............. ]     parallel arrays, one entry a reference of block b:
 *      word:  [ .. | 0 | 1 | 4 | 6 | .............. ]     9 bytes an edge
 *      kind:  [ .. | S | I | S | E | .............. ]
 *
 *      roots: [ (root, to, kind, strict) ... ]            in the order they were added
 *
 * Three arrays instead of one of structs: the searches read `to` and (two of them) `kind` only, so that a
 * cache line brings sixteen edges instead of five, and nothing is lost to padding.
 *
 * States of a graph: *open* (references are added) -> *solved* (classes, heads and holders may be asked) or
 * *failed* (memory was out in the middle; only graph_free may follow, and what is asked is answered as if all
 * were reachable).
 *
 * Invariants once solved, held by the tests' model:
 *      row[0] == 0, row ascending, row[blocks] == edges
 *      sum of from_strict + from_wide == root_refs,  sum of from_blocks + from_self == edges (while none is
 * saturated) head[b] != GRAPH_NONE  <=>  class[b] is LOST, CYCLE or INDIRECT  <=>  no holder
 *
 * Threads: none; a graph belongs to who made it.
 */
#ifndef HEAPTALLY_GRAPH_STORE_H
#define HEAPTALLY_GRAPH_STORE_H

#include "tracer/graph/graph.h"

struct root_ref {
    uint32_t root, to;
    uint8_t kind; /* enum graph_ref */
    bool strict;
};

/* class[] while the search goes on: not reached by anything yet. Not an answer. */
#define CLASS_UNREACHED 0xffu

enum graph_state { GRAPH_OPEN, GRAPH_SOLVED, GRAPH_FAILED };

struct graph {
    graph_resize_fn *resize;
    void *resize_ctx;
    uint32_t blocks, roots;
    uint8_t state; /* enum graph_state */

    /* References of blocks: rows below `rows_begun` have their start, all others follow when they begin. */
    size_t *row; /* blocks + 1 */
    uint32_t rows_begun;
    size_t edges, edge_room;
    uint32_t *to, *word;
    uint8_t *kind;

    /* References of roots. */
    struct root_ref *root_ref;
    size_t root_refs, root_ref_room;

    struct graph_counts *counts; /* per block, kept as references come in */

    /* The answer, per block: from graph_solve on. */
    uint8_t *cls;          /* enum graph_class */
    uint8_t *held_by_root; /* holder[] is a root's number, not a block's */
    uint32_t *holder;      /* who reached it first, or GRAPH_NONE */
    uint32_t *head;        /* the head it belongs to or is charged to, or GRAPH_NONE */

    /* The answer, per head. */
    uint32_t heads;
    uint32_t *member_row; /* heads + 1 */
    uint32_t *member;
    uint32_t *indirect; /* blocks charged to it */
};

/* `count` elements of `size` bytes through the graph's own memory: NULL when memory is out. Not cleared. */
void *graph_array(const struct graph *g, size_t count, size_t size);
void graph_release(const struct graph *g, void *array);

/* The three steps of graph_solve, each false when memory is out.
 * reach: classes REACHABLE and POSSIBLE with their holders; all others are left CLASS_UNREACHED. */
bool graph_reach(struct graph *g);

/* What graph_components found: the strongly connected groups of the unreached blocks. */
struct components {
    uint32_t count;
    uint32_t *of;  /* per block: its group; GRAPH_NONE for blocks that were reached */
    uint8_t *held; /* per group: an unreached block outside it refers into it */
};

bool graph_components(const struct graph *g, struct components *ret);

/* From the groups to LOST, CYCLE, INDIRECT, heads and charges. */
bool graph_name_heads(struct graph *g, const struct components *groups);

#endif
