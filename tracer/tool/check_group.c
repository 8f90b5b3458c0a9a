/* SPDX-License-Identifier: MIT */
/*
 * Which findings are one: lost heads of one site; cycles whose members' sites are the same set; possible blocks of
 * one site.
 *
 *    items  [ lost heads, by site | cycles, by set of sites | possible blocks, by site ]     equal neighbours: a group
 *    groups sorted by what they cost, then by site: the order of the report, the same from run to run
 */
#include "tracer/tool/check_parts.h"

#include <stdlib.h>
#include <string.h>

/* What items are compared by. A lost head's or possible block's set is its one site. */
struct keyed {
    const uint32_t *sites; /* ascending, each once */
    uint32_t site_count;
    uint32_t item;
};

struct key_maker {
    struct check *check;
    struct keyed *keys;
    uint32_t count;
    uint32_t *pool; /* of all sites; large enough from the start */
    size_t used;
};

static int number_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int key_compare_sites(const struct keyed *x, const struct keyed *y)
{
    uint32_t shorter = x->site_count < y->site_count ? x->site_count : y->site_count;
    for (uint32_t i = 0; i < shorter; i++)
        if (x->sites[i] != y->sites[i])
            return x->sites[i] < y->sites[i] ? -1 : 1;
    return x->site_count < y->site_count ? -1 : x->site_count > y->site_count;
}

static int key_compare(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    int order = key_compare_sites(x, y);
    return order ? order : x->item < y->item ? -1 : x->item > y->item;
}

static bool add_key(struct key_maker *maker, uint32_t item, const uint32_t *members, uint32_t count)
{
    const struct image_block *blocks = image_blocks(maker->check->image);
    uint32_t *sites = maker->pool + maker->used;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!check_same_site(maker->check, blocks[members[i]].site, &sites[i]))
            return false;
    qsort(sites, count, sizeof(*sites), number_compare);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || sites[kept - 1] != sites[i])
            sites[kept++] = sites[i];
    maker->used += kept;
    maker->keys[maker->count++] = (struct keyed){sites, kept, item};
    return true;
}

static bool add_heads(struct key_maker *maker, enum graph_class cls)
{
    const struct graph *graph = maker->check->graph;
    for (uint32_t i = 0; i < graph_head_count(graph); i++) {
        struct graph_head head = graph_head_at(graph, i);
        if (head.cls == cls && !check_head_is_inherited(maker->check, i) &&
            !add_key(maker, i, graph_head_members(graph, i), head.members))
            return false;
    }
    return true;
}

static bool add_possible(struct key_maker *maker)
{
    for (uint32_t i = 0; i < image_block_count(maker->check->image); i++)
        if (graph_class_of(maker->check->graph, i) == GRAPH_POSSIBLE && !add_key(maker, i, &i, 1))
            return false;
    return true;
}

/* --- sums ------------------------------------------------------------------------------------------------------- */

static void sum_age(const struct check *check, uint32_t i, struct rec_group *sums)
{
    uint64_t age;
    if (!image_block_age(check->image, i, &age))
        return;
    if (sums->aged_blocks++ == 0)
        sums->oldest_ms = sums->newest_ms = age;
    sums->oldest_ms = age > sums->oldest_ms ? age : sums->oldest_ms;
    sums->newest_ms = age < sums->newest_ms ? age : sums->newest_ms;
}

static void sum_block(const struct check *check, uint32_t i, struct rec_group *sums)
{
    const struct image_block *block = &image_blocks(check->image)[i];
    struct graph_counts counts = graph_counts_of(check->graph, i);
    sums->blocks++;
    sums->bytes += block->size;
    sums->capacity += block->capacity;
    sums->references +=
        (uint64_t)counts.from_strict + counts.from_wide + counts.from_blocks + counts.from_self;
    sums->from_self += counts.from_self;
    sum_age(check, i, sums);
}

struct inside_counter {
    const struct check *check;
    uint32_t head;
    uint64_t inside;
};

static bool count_inside(void *ctx, uint32_t from, uint32_t to, uint32_t word, enum graph_ref kind)
{
    struct inside_counter *counter = ctx;
    (void)word;
    (void)kind;
    counter->inside += to != from && graph_class_of(counter->check->graph, to) == GRAPH_CYCLE &&
                       graph_head_of(counter->check->graph, to) == counter->head;
    return true;
}

static void sum_head(const struct check *check, uint32_t head, struct rec_group *sums)
{
    const uint32_t *members = graph_head_members(check->graph, head);
    struct graph_head about = graph_head_at(check->graph, head);
    struct inside_counter counter = {check, head, 0};
    for (uint32_t i = 0; i < about.members; i++) {
        sum_block(check, members[i], sums);
        if (about.cls == GRAPH_CYCLE)
            graph_edges_of(check->graph, members[i], count_inside, &counter);
    }
    sums->from_inside += counter.inside;
    sums->indirect_blocks += check->charges[head].blocks;
    sums->indirect_bytes += check->charges[head].bytes;
    sums->capacity += check->charges[head].capacity;
}

static void sum_group(const struct check *check, struct check_group *group)
{
    group->sums = (struct rec_group){.cls = group->cls, .instances = group->count, .suppressed_by = REC_NONE};
    for (uint32_t i = 0; i < group->count; i++)
        if (group->cls == REC_POSSIBLE)
            sum_block(check, group->items[i], &group->sums);
        else
            sum_head(check, group->items[i], &group->sums);
}

/* --- groups ----------------------------------------------------------------------------------------------------- */

static bool add_group(struct check_groups *groups, const struct check_group *group)
{
    if (groups->count == groups->capacity) {
        uint32_t capacity = groups->capacity ? groups->capacity * 2 : 64;
        struct check_group *grown = realloc(groups->groups, capacity * sizeof(*grown));
        if (!grown)
            return false;
        groups->groups = grown;
        groups->capacity = capacity;
    }
    groups->groups[groups->count++] = *group;
    return true;
}

/* keys[0..count) are of one class; their items go to `items`. */
static bool cut_groups(const struct check *check, struct keyed *keys, uint32_t count, enum rec_class cls,
                       uint32_t *items, struct check_groups *ret)
{
    if (count)
        qsort(keys, count, sizeof(*keys), key_compare);
    for (uint32_t i = 0, end; i < count; i = end) {
        for (end = i; end < count && key_compare_sites(&keys[i], &keys[end]) == 0; end++)
            items[end] = keys[end].item;
        struct check_group group = {.cls = cls, .items = items + i, .count = end - i};
        sum_group(check, &group);
        group.sums.site = keys[i].sites[0];
        if (!add_group(ret, &group))
            return false;
    }
    return true;
}

static int group_compare(const void *a, const void *b)
{
    const struct check_group *x = a, *y = b;
    uint64_t x_bytes = x->sums.bytes + x->sums.indirect_bytes,
             y_bytes = y->sums.bytes + y->sums.indirect_bytes;
    if (x_bytes != y_bytes)
        return x_bytes > y_bytes ? -1 : 1;
    if (x->sums.site != y->sums.site)
        return x->sums.site < y->sums.site ? -1 : 1;
    if (x->cls != y->cls)
        return x->cls < y->cls ? -1 : 1;
    return x->items[0] < y->items[0] ? -1 : x->items[0] > y->items[0];
}

static bool make_groups(struct key_maker *maker, struct check_groups *ret)
{
    if (!add_heads(maker, GRAPH_LOST))
        return false;
    uint32_t cycles = maker->count;
    if (!add_heads(maker, GRAPH_CYCLE))
        return false;
    uint32_t possible = maker->count;
    if (!add_possible(maker))
        return false;
    return cut_groups(maker->check, maker->keys, cycles, REC_LOST, ret->items, ret) &&
           cut_groups(maker->check, maker->keys + cycles, possible - cycles, REC_CYCLE, ret->items + cycles,
                      ret) &&
           cut_groups(maker->check, maker->keys + possible, maker->count - possible, REC_POSSIBLE,
                      ret->items + possible, ret);
}

bool check_make_groups(struct check *check, struct check_groups *ret)
{
    /* A block is in one class, so each of the three arrays has room for all with one place a block. */
    size_t room = (size_t)image_block_count(check->image) + 1;
    struct key_maker maker = {.check = check};
    maker.keys = malloc(room * sizeof(*maker.keys));
    maker.pool = malloc(room * sizeof(*maker.pool));
    ret->items = malloc(room * sizeof(*ret->items));
    bool done = maker.keys && maker.pool && ret->items && make_groups(&maker, ret);
    free(maker.keys);
    free(maker.pool);
    if (done && ret->count)
        qsort(ret->groups, ret->count, sizeof(*ret->groups), group_compare);
    return done;
}

void check_groups_free(struct check_groups *groups)
{
    free(groups->groups);
    free(groups->items);
    *groups = (struct check_groups){0};
}
