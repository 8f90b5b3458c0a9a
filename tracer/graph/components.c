/* SPDX-License-Identifier: MIT */
/*
 * components.c - the strongly connected groups of the unreached blocks (Tarjan, 1972, without recursion).
 *
 *      path:  a -> b -> c -> d        the walk from the block it began at; step[] says which edge of each is
 * next open:  a  x  b  c  y  d        blocks that were entered and whose group is not complete: path plus
 * what it left
 *
 * low[b] is the smallest entry number of an open block that b is known to lead to. A block that, when its
 * edges are done, leads to none older than itself is the oldest of its group, and its group is what lies
 * above it in `open`.
 *
 * Recursion would need a stack frame a block, and a leaked list of ten million is one path; here it is 12
 * bytes a block.
 *
 * While walking, each group also learns whether it is *held*: whether an unreached block outside refers into
 * it. An edge u -> v leads out of u's group exactly when v's group is complete after the edge was followed:
 * were both in one group, v would have to stay open until u is done. So every edge is looked at once, and
 * none again for this.
 */
#include "tracer/graph/store.h"

#include <string.h>

struct visit {
    uint32_t number; /* of entry, from 1; 0: not entered */
    uint32_t low;
    uint32_t group; /* GRAPH_NONE while open */
};

struct walk {
    const struct graph *g;
    struct visit *visit; /* per block: three numbers side by side, for an edge's end is looked up at random */
    uint32_t *open, *path;
    size_t *step; /* beside path */
    uint32_t open_count, path_count, entered;
    struct components *groups;
};

static void walk_enter(struct walk *w, uint32_t block)
{
    w->entered++;
    w->visit[block] = (struct visit){w->entered, w->entered, GRAPH_NONE};
    w->open[w->open_count++] = block;
    w->path[w->path_count] = block;
    w->step[w->path_count] = w->g->row[block];
    w->path_count++;
}

/* The edge u -> v was followed to its end: v is complete, or older than u, or done and part of u's group. */
static void walk_learn(struct walk *w, uint32_t u, uint32_t v)
{
    struct visit *from = &w->visit[u];
    const struct visit *to = &w->visit[v];
    if (to->group != GRAPH_NONE)
        w->groups->held[to->group] = 1;
    else if (to->low < from->low)
        from->low = to->low;
}

static void close_group(struct walk *w, uint32_t oldest)
{
    uint32_t group = w->groups->count++, block;
    w->groups->held[group] = 0;
    do {
        block = w->open[--w->open_count];
        w->visit[block].group = group;
        w->groups->of[block] = group;
    } while (block != oldest);
}

/* The top of the path has no edge left: close its group if it is the oldest, and tell who led to it. */
static void walk_leave(struct walk *w)
{
    uint32_t block = w->path[--w->path_count];
    if (w->visit[block].low == w->visit[block].number)
        close_group(w, block);
    if (w->path_count)
        walk_learn(w, w->path[w->path_count - 1], block);
}

/* Follow edges of the path's top until one leads to a block that has to be entered, or none is left. A
 * self-reference needs no case of its own: the block is open, and learns from itself what it knows. */
static void walk_step(struct walk *w)
{
    const struct graph *g = w->g;
    uint32_t from = w->path[w->path_count - 1];
    size_t *step = &w->step[w->path_count - 1], end = g->row[from + 1];
    while (*step < end) {
        uint32_t to = g->to[(*step)++];
        if (g->cls[to] != CLASS_UNREACHED)
            continue;
        if (w->visit[to].number == 0) {
            walk_enter(w, to);
            return;
        }
        walk_learn(w, from, to);
    }
    walk_leave(w);
}

static void walk_all(struct walk *w)
{
    for (uint32_t b = 0; b < w->g->blocks; b++) {
        if (w->g->cls[b] != CLASS_UNREACHED || w->visit[b].number)
            continue;
        walk_enter(w, b);
        while (w->path_count)
            walk_step(w);
    }
}

static size_t count_unreached(const struct graph *g)
{
    size_t count = 0;
    for (uint32_t b = 0; b < g->blocks; b++)
        count += g->cls[b] == CLASS_UNREACHED;
    return count;
}

/* What grows with depth and groups is bounded by the unreached blocks: a healthy heap pays for the per-block
 * arrays only. */
static bool walk_new(struct walk *w, struct components *groups)
{
    const struct graph *g = w->g;
    size_t unreached = count_unreached(g);
    w->visit = graph_array(g, g->blocks, sizeof(*w->visit));
    w->open = graph_array(g, unreached, sizeof(*w->open));
    w->path = graph_array(g, unreached, sizeof(*w->path));
    w->step = graph_array(g, unreached, sizeof(*w->step));
    groups->of = graph_array(g, g->blocks, sizeof(*groups->of));
    groups->held = graph_array(g, unreached, sizeof(*groups->held));
    if (!w->visit || !w->open || !w->path || !w->step || !groups->of || !groups->held)
        return false;
    memset(w->visit, 0, g->blocks * sizeof(*w->visit));
    memset(groups->of, 0xff, g->blocks * sizeof(*groups->of)); /* GRAPH_NONE */
    return true;
}

bool graph_components(const struct graph *g, struct components *ret)
{
    struct walk w = {.g = g, .groups = ret};
    *ret = (struct components){0};
    bool ok = walk_new(&w, ret);
    if (ok)
        walk_all(&w);
    graph_release(g, w.visit);
    graph_release(g, w.open);
    graph_release(g, w.path);
    graph_release(g, w.step);
    return ok;
}
