/* SPDX-License-Identifier: MIT */
/*
 * heads.c - from groups of unreached blocks to findings: heads, their members, and what is charged to them.
 *
 *      groups no other unreached block refers into          everything else
 *        one block   -> LOST   --.
 *        several     -> CYCLE  --+--> breadth first ------> INDIRECT, charged to the first head that comes by
 *
 * Why nothing is left over: the groups form a graph without cycles, so that going from any group to one that
 * holds it ends at a group that nobody holds, which is a head. Hence every unreached block is a member or is
 * met from a head.
 *
 * Why a lost block's counts from roots and from other blocks are all 0, without a special case: a root's
 * reference, of whatever kind, makes its target at least possible, as does a reference from a reachable or a
 * possible block; so what is unreached is referred to by unreached blocks only. A lost block is a group of
 * one that none of these refers into. Its from_self alone may be more.
 */
#include "tracer/graph/store.h"

#include <string.h>

/* A head a group at most: number the groups without a holder, in the order of their lowest blocks. */
static bool heads_number(struct graph *g, const struct components *groups)
{
    uint32_t *head_of_group = graph_array(g, groups->count, sizeof(*head_of_group));
    if (!head_of_group)
        return false;
    memset(head_of_group, 0xff, groups->count * sizeof(*head_of_group)); /* GRAPH_NONE */
    for (uint32_t b = 0; b < g->blocks; b++) {
        uint32_t group = groups->of[b];
        if (group == GRAPH_NONE || groups->held[group])
            continue;
        if (head_of_group[group] == GRAPH_NONE)
            head_of_group[group] = g->heads++;
        g->head[b] = head_of_group[group];
    }
    graph_release(g, head_of_group);
    return true;
}

/* Counting sort by head. One pass in block order fills each row ascending; member_row[h] is the row's end
 * while it fills from the row before, hence the shift by one. */
static bool members_collect(struct graph *g)
{
    uint32_t members = 0;
    for (uint32_t b = 0; b < g->blocks; b++)
        members += g->head[b] != GRAPH_NONE;
    g->member_row = graph_array(g, (size_t)g->heads + 1, sizeof(*g->member_row));
    g->member = graph_array(g, members, sizeof(*g->member));
    g->indirect = graph_array(g, g->heads, sizeof(*g->indirect));
    if (!g->member_row || !g->member || !g->indirect)
        return false;
    memset(g->member_row, 0, ((size_t)g->heads + 1) * sizeof(*g->member_row));
    memset(g->indirect, 0, g->heads * sizeof(*g->indirect));

    for (uint32_t b = 0; b < g->blocks; b++)
        if (g->head[b] != GRAPH_NONE)
            g->member_row[g->head[b]]++;
    uint32_t begin = 0;
    for (uint32_t h = 0; h <= g->heads; h++) {
        uint32_t size = g->member_row[h];
        g->member_row[h] = begin;
        begin += size;
    }
    for (uint32_t b = 0; b < g->blocks; b++)
        if (g->head[b] != GRAPH_NONE)
            g->member[g->member_row[g->head[b]]++] = b;
    /* Each row's beginning has moved to its end, which is the next one's beginning. */
    memmove(g->member_row + 1, g->member_row, (size_t)g->heads * sizeof(*g->member_row));
    g->member_row[0] = 0;
    return true;
}

static void members_class(struct graph *g)
{
    for (uint32_t h = 0; h < g->heads; h++) {
        uint32_t begin = g->member_row[h], end = g->member_row[h + 1];
        for (uint32_t i = begin; i < end; i++)
            g->cls[g->member[i]] = end - begin == 1 ? GRAPH_LOST : GRAPH_CYCLE;
    }
}

/* Charge the unreached targets of `from` to `head`. Returns the queue's new end. */
static uint32_t charge_targets(struct graph *g, uint32_t from, uint32_t head, uint32_t *queue, uint32_t tail)
{
    for (size_t e = g->row[from]; e < g->row[from + 1]; e++) {
        uint32_t to = g->to[e];
        if (g->cls[to] != CLASS_UNREACHED)
            continue;
        g->cls[to] = GRAPH_INDIRECT;
        g->head[to] = head;
        queue[tail++] = to;
    }
    return tail;
}

/* Heads in order, each with everything it leads to that no earlier one does. No head leads to another head's
 * member, for then it would hold it: the walk meets only blocks that are INDIRECT or become so. */
static bool indirect_charge(struct graph *g)
{
    uint32_t *queue = graph_array(g, g->blocks, sizeof(*queue));
    if (!queue)
        return false;
    for (uint32_t h = 0; h < g->heads; h++) {
        uint32_t tail = 0;
        for (uint32_t i = g->member_row[h]; i < g->member_row[h + 1]; i++)
            tail = charge_targets(g, g->member[i], h, queue, tail);
        for (uint32_t next = 0; next < tail; next++)
            tail = charge_targets(g, queue[next], h, queue, tail);
        g->indirect[h] = tail;
    }
    graph_release(g, queue);
    return true;
}

bool graph_name_heads(struct graph *g, const struct components *groups)
{
    if (!heads_number(g, groups) || !members_collect(g))
        return false;
    members_class(g);
    return indirect_charge(g);
}
