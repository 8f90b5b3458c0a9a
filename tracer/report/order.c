/* SPDX-License-Identifier: MIT */
#include "tracer/report/order.h"

#include <stdlib.h>

/* What sorts a group: its section of the report, then its size. */
struct key {
    uint64_t bytes, blocks;
    uint32_t section, group;
};

enum { FINDING, POSSIBLE, SUPPRESSED, NOT_SHOWN };

static uint32_t section_of(const struct rec_group *g)
{
    if (g->cls == REC_POSSIBLE)
        return g->suppressed_by == REC_NONE ? POSSIBLE : SUPPRESSED;
    if (g->cls == REC_LOST || g->cls == REC_CYCLE)
        return g->suppressed_by == REC_NONE ? FINDING : SUPPRESSED;
    return NOT_SHOWN;
}

static int compare(const void *left, const void *right)
{
    const struct key *a = left;
    const struct key *b = right;
    if (a->section != b->section)
        return a->section < b->section ? -1 : 1;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    if (a->blocks != b->blocks)
        return a->blocks > b->blocks ? -1 : 1;
    return a->group < b->group ? -1 : 1;
}

bool order_groups(const struct recording *rec, struct order *ret)
{
    size_t room = rec->groups_count + (size_t)1; /* never zero bytes */
    struct key *keys = calloc(room, sizeof *keys);
    uint32_t *groups = calloc(room, sizeof *groups);
    if (keys == NULL || groups == NULL) {
        free(keys);
        free(groups);
        return false;
    }
    uint32_t counts[NOT_SHOWN + 1] = {0};
    for (uint32_t i = 0; i < rec->groups_count; i++) {
        const struct rec_group *g = &rec->groups[i];
        keys[i] =
            (struct key){g->bytes + g->indirect_bytes, g->blocks + g->indirect_blocks, section_of(g), i};
        counts[keys[i].section]++;
    }
    qsort(keys, rec->groups_count, sizeof *keys, compare);
    for (uint32_t i = 0; i < rec->groups_count; i++)
        groups[i] = keys[i].group;
    free(keys);
    *ret = (struct order){groups, counts[FINDING], counts[POSSIBLE], counts[SUPPRESSED]};
    return true;
}

void order_free(struct order *order)
{
    free(order->groups);
    order->groups = NULL;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* Totals come from meta, which counts every block; groups tell how many cycles there are and what is
 * suppressed. */
struct totals order_totals(const struct recording *rec)
{
    const struct rec_meta *m = &rec->meta;
    struct totals t = {.lost_blocks = m->class_blocks[REC_LOST],
                       .lost_bytes = m->class_bytes[REC_LOST],
                       .cycle_blocks = m->class_blocks[REC_CYCLE],
                       .cycle_bytes = m->class_bytes[REC_CYCLE],
                       .held_blocks = m->class_blocks[REC_INDIRECT],
                       .held_bytes = m->class_bytes[REC_INDIRECT]};
    for (uint32_t i = 0; i < rec->groups_count; i++) {
        const struct rec_group *g = &rec->groups[i];
        bool cycle = g->cls == REC_CYCLE;
        if (!cycle && g->cls != REC_LOST)
            continue;
        if (g->suppressed_by == REC_NONE) {
            t.cycles += cycle ? g->instances : 0;
            continue;
        }
        uint64_t *blocks = cycle ? &t.cycle_blocks : &t.lost_blocks;
        uint64_t *bytes = cycle ? &t.cycle_bytes : &t.lost_bytes;
        *blocks = minus(*blocks, g->blocks);
        *bytes = minus(*bytes, g->bytes);
        t.held_blocks = minus(t.held_blocks, g->indirect_blocks);
        t.held_bytes = minus(t.held_bytes, g->indirect_bytes);
        t.suppressed_groups++;
        t.suppressed_blocks += g->blocks + g->indirect_blocks;
        t.suppressed_bytes += g->bytes + g->indirect_bytes;
    }
    return t;
}
