/* SPDX-License-Identifier: MIT */
/*
 * reach.c - which blocks can still be reached, how firmly, and through whom.
 *
 *      queue: [ from strict roots, nearest first | from weak beginnings, nearest first | room ]
 *               REACHABLE                         ^firm                                 ^tail
 *
 * Two breadth-first searches in one queue. The first takes firm references (start, accepted) from strict
 * roots. The second begins with whatever the first left aside - references of wide roots, weak references of
 * strict roots and of reachable blocks - and from there on takes every kind of reference: what a possible
 * block holds is possible. Breadth first, because the holders then make shortest paths; every block enters
 * the queue once at most, which bounds it, and which is why following holders always goes back in the queue
 * and ends at a root.
 */
#include "tracer/graph/store.h"

struct search {
    struct graph *g;
    uint32_t *queue;
    uint32_t tail; /* queue[0..tail) was reached */
};

static bool is_firm(uint8_t kind)
{
    return kind == GRAPH_START || kind == GRAPH_ACCEPTED;
}

static void search_meet(struct search *s, uint32_t block, enum graph_class cls, uint32_t holder, bool by_root)
{
    struct graph *g = s->g;
    if (g->cls[block] != CLASS_UNREACHED)
        return;
    g->cls[block] = (uint8_t)cls;
    g->holder[block] = holder;
    g->held_by_root[block] = by_root;
    s->queue[s->tail++] = block;
}

static void meet_firm(struct search *s, uint32_t from)
{
    const struct graph *g = s->g;
    for (size_t e = g->row[from]; e < g->row[from + 1]; e++)
        if (is_firm(g->kind[e]))
            search_meet(s, g->to[e], GRAPH_REACHABLE, from, false);
}

/* Every kind at once: of a reachable block the firm ones find only blocks that were met, so that the weak
 * ones remain. */
static void meet_all(struct search *s, uint32_t from)
{
    const struct graph *g = s->g;
    for (size_t e = g->row[from]; e < g->row[from + 1]; e++)
        search_meet(s, g->to[e], GRAPH_POSSIBLE, from, false);
}

static void find_reachable(struct search *s)
{
    const struct graph *g = s->g;
    for (size_t i = 0; i < g->root_refs; i++)
        if (g->root_ref[i].strict && is_firm(g->root_ref[i].kind))
            search_meet(s, g->root_ref[i].to, GRAPH_REACHABLE, g->root_ref[i].root, true);
    for (uint32_t next = 0; next < s->tail; next++)
        meet_firm(s, s->queue[next]);
}

/* Roots first: "possible, held from the mapping at ..." says more than the name of a block that holds it too.
 */
static void find_possible(struct search *s)
{
    const struct graph *g = s->g;
    for (size_t i = 0; i < g->root_refs; i++)
        search_meet(s, g->root_ref[i].to, GRAPH_POSSIBLE, g->root_ref[i].root, true);
    for (uint32_t next = 0; next < s->tail; next++)
        meet_all(s, s->queue[next]);
}

bool graph_reach(struct graph *g)
{
    struct search s = {.g = g, .queue = graph_array(g, g->blocks, sizeof(uint32_t))};
    if (!s.queue)
        return false;
    find_reachable(&s);
    find_possible(&s);
    graph_release(g, s.queue);
    return true;
}
