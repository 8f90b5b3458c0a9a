/* SPDX-License-Identifier: MIT */
/* What of a group goes into the recording: sample blocks, the edges of a cycle, the holders of a possible block. */
#include "tracer/tool/check_parts.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS_SHOWN  32u
#define MEMBERS_SHOWN 64u
#define EDGES_SHOWN   256u
#define HOLDERS_SHOWN 16u

static bool show_block(struct check *check, uint32_t i, uint32_t instance)
{
    const struct image_block *block = &image_blocks(check->image)[i];
    struct graph_counts counts = graph_counts_of(check->graph, i);
    uint32_t site;
    if (!check_name_site(check, block->site, &site))
        return false;
    struct rec_block shown = {
        .addr = block->addr,
        .size = block->size,
        .capacity = block->capacity,
        .site = site,
        .kind = check_kind_of(check->rec, site, block->kind),
        .refs_start = counts.from_strict + counts.from_wide + counts.from_blocks - counts.interior,
        .refs_interior = counts.interior,
        .refs_self = counts.from_self,
        .instance = instance,
    };
    shown.has_age = image_block_age(check->image, i, &shown.age_ms);
    check->shown[i] = recording_add_block(check->rec, &shown);
    return check->shown[i] != REC_NONE;
}

/* What stands in the target at addr, as an offset into a block: 0 when it cannot be read again. */
static uint64_t offset_into(const struct check *check, uint64_t addr, uint32_t block)
{
    const struct memory_source *source = check->request->source;
    const struct image_block *to = &image_blocks(check->image)[block];
    uint64_t value;
    if (!addr || source->read(source->ctx, addr, &value, sizeof(value)) != sizeof(value))
        return 0;
    return value - to->addr <= to->size ? value - to->addr : 0;
}

static bool show_edge(struct check *check, uint32_t from, uint32_t to, uint32_t word)
{
    uint64_t offset = (uint64_t)word * 8;
    const struct rec_edge edge = {
        .from_block = check->shown[from],
        .from_root = REC_NONE,
        .to_block = check->shown[to],
        .offset = offset,
        .to_offset = offset_into(check, image_blocks(check->image)[from].addr + offset, to),
    };
    return recording_add_edge(check->rec, &edge) != REC_NONE;
}

/* --- cycles ----------------------------------------------------------------------------------------------------- */

struct cycle_walk {
    struct check *check;
    uint32_t head;
    uint32_t members[MEMBERS_SHOWN], count; /* found so far, in the order of the walk */
    uint32_t edges;
    bool no_memory;
};

static bool is_member(const struct cycle_walk *walk, uint32_t block)
{
    return graph_class_of(walk->check->graph, block) == GRAPH_CYCLE &&
           graph_head_of(walk->check->graph, block) == walk->head;
}

static bool is_found(const struct cycle_walk *walk, uint32_t block)
{
    for (uint32_t i = 0; i < walk->count; i++)
        if (walk->members[i] == block)
            return true;
    return false;
}

static bool find_member(void *ctx, uint32_t from, uint32_t to, uint32_t word, enum graph_ref kind)
{
    struct cycle_walk *walk = ctx;
    (void)from;
    (void)word;
    (void)kind;
    if (is_member(walk, to) && !is_found(walk, to))
        walk->members[walk->count++] = to;
    return walk->count < MEMBERS_SHOWN;
}

static bool show_cycle_edge(void *ctx, uint32_t from, uint32_t to, uint32_t word, enum graph_ref kind)
{
    struct cycle_walk *walk = ctx;
    (void)kind;
    if (!is_found(walk, to))
        return true;
    walk->no_memory = !show_edge(walk->check, from, to, word);
    return !walk->no_memory && ++walk->edges < EDGES_SHOWN;
}

/* One instance, from its first member along its own references: so that what is shown hangs together. */
static bool show_cycle(struct check *check, uint32_t head)
{
    struct cycle_walk walk = {.check = check, .head = head, .count = 1};
    walk.members[0] = graph_head_at(check->graph, head).first;
    for (uint32_t i = 0; i < walk.count && walk.count < MEMBERS_SHOWN; i++)
        graph_edges_of(check->graph, walk.members[i], find_member, &walk);
    for (uint32_t i = 0; i < walk.count; i++)
        if (!show_block(check, walk.members[i], 0))
            return false;
    for (uint32_t i = 0; i < walk.count && walk.edges < EDGES_SHOWN && !walk.no_memory; i++)
        graph_edges_of(check->graph, walk.members[i], show_cycle_edge, &walk);
    return !walk.no_memory;
}

/* --- holders ---------------------------------------------------------------------------------------------------- */

struct word_search {
    uint32_t to, word;
    bool found;
};

static bool find_word(void *ctx, uint32_t from, uint32_t to, uint32_t word, enum graph_ref kind)
{
    struct word_search *search = ctx;
    (void)from;
    (void)kind;
    search->found = to == search->to;
    search->word = word;
    return !search->found;
}

/* The word of a root through which it holds a block; 0: it stands in no memory. */
static uint64_t word_in_root(const struct check *check, uint32_t root, uint32_t block)
{
    size_t low = 0, high = check->root_ref_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct root_ref *ref = &check->root_refs[middle];
        if (ref->block < block || (ref->block == block && ref->root < root))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == check->root_ref_count)
        return 0;
    const struct root_ref *ref = &check->root_refs[low];
    return ref->block == block && ref->root == root ? ref->addr : 0;
}

static bool show_root_edge(struct check *check, uint32_t root, uint32_t to)
{
    uint32_t named;
    uint64_t addr = word_in_root(check, root, to);
    if (!check_name_root(check, root, addr, &named))
        return false;
    const struct rec_edge edge = {.from_block = REC_NONE,
                                  .from_root = named,
                                  .to_block = check->shown[to],
                                  .offset = addr,
                                  .to_offset = offset_into(check, addr, to)};
    return recording_add_edge(check->rec, &edge) != REC_NONE;
}

static bool show_holding_edge(struct check *check, uint32_t holder, uint32_t held)
{
    struct word_search search = {.to = held};
    graph_edges_of(check->graph, holder, find_word, &search);
    return !search.found || show_edge(check, holder, held, search.word);
}

/* Holder by holder out to the root. In a long chain the middle is left out. */
static bool show_holders(struct check *check, uint32_t block)
{
    uint32_t root = GRAPH_NONE, holder = GRAPH_NONE, shown = 0;
    for (;;) {
        graph_holder_of(check->graph, block, &root, &holder);
        if (holder == GRAPH_NONE)
            break;
        if (++shown < HOLDERS_SHOWN) {
            if ((check->shown[holder] == REC_NONE && !show_block(check, holder, 0)) ||
                !show_holding_edge(check, holder, block))
                return false;
        }
        block = holder;
    }
    if (root == GRAPH_NONE)
        return true;
    return (check->shown[block] != REC_NONE || show_block(check, block, 0)) &&
           show_root_edge(check, root, block);
}

/* --- a group ---------------------------------------------------------------------------------------------------- */

static bool show_samples(struct check *check, const struct check_group *group)
{
    for (uint32_t i = 0; i < group->count && i < BLOCKS_SHOWN; i++) {
        uint32_t block =
            group->cls == REC_LOST ? graph_head_at(check->graph, group->items[i]).first : group->items[i];
        if (!show_block(check, block, i))
            return false;
    }
    return true;
}

bool check_show_group(struct check *check, const struct check_group *group)
{
    struct recording *rec = check->rec;
    struct rec_group shown = group->sums;
    shown.first_block = rec->blocks_count;
    shown.first_edge = rec->edges_count;
    if (!(group->cls == REC_CYCLE ? show_cycle(check, group->items[0]) : show_samples(check, group)))
        return false;
    shown.block_count = rec->blocks_count - shown.first_block;
    if (group->cls == REC_POSSIBLE && !show_holders(check, group->items[0]))
        return false;
    shown.edge_count = rec->edges_count - shown.first_edge;
    shown.kind = rec->blocks[shown.first_block].kind;
    return check_name_site(check, group->sums.site, &shown.site) &&
           recording_add_group(rec, &shown) != REC_NONE;
}
