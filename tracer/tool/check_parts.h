/* SPDX-License-Identifier: MIT */
/*
 * check_parts.h - the parts of one check, and what they share.
 *
 *    check.c          opens the image, fills the graph from the scan, asks for the classes, writes totals
 *    check_group.c    heads and possible blocks that belong together -> check_group, largest first
 *    check_show.c     each group -> rec_group with sample blocks, a cycle's edges, a possible block's holders
 *    check_usage.c    the threads' tallies -> rec_usage, in the order that is asked for
 *    check_names.c    sites, frames, modules and roots -> names, each at most once
 *
 * Functions that return bool return false only when memory is out.
 */
#ifndef HEAPTALLY_CHECK_PARTS_H
#define HEAPTALLY_CHECK_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/graph/graph.h"
#include "tracer/report/symbols.h"
#include "tracer/report/usage.h"
#include "tracer/tool/check.h"

/* One reference from a root, kept to say later through which word of it a block is held. */
struct root_ref {
    uint32_t block, root;
    uint64_t addr;
};

/* What a head (graph.h) is charged with. */
struct head_charge {
    uint64_t blocks, bytes, capacity;
};

/* An open hash table from a pair of numbers to an index; zeros are an empty one. */
struct check_index {
    struct check_index_entry {
        uint64_t a;
        uint32_t b, value; /* value + 1; 0: free */
    } * entries;
    uint32_t count, capacity;
};

struct check {
    const struct check_request *request;
    struct recording *rec;
    struct image *image;
    struct graph *graph;
    struct symbols *symbols;
    const char *phase;
    bool no_memory;

    struct root_ref *root_refs; /* ascending by block, then root, once sorted */
    size_t root_ref_count, root_ref_capacity;
    struct head_charge *charges; /* per head */

    struct check_index frames, sites, modules, roots; /* to indices of rec's arrays */
    struct check_index readings; /* of a stack as it reads, to the first site that reads so */
    uint32_t *shown;             /* per block: its latest index in rec's blocks, or REC_NONE */
};

/* Blocks or cycles that are reported as one. */
struct check_group {
    enum rec_class cls;
    const uint32_t *items; /* heads (lost, cycle) or blocks (possible), ascending */
    uint32_t count;
    struct rec_group sums; /* all but site, kind, and what is shown */
};

struct check_groups {
    struct check_group *groups; /* in the order they are to be reported */
    uint32_t count, capacity;
    uint32_t *items; /* what all groups' items point into */
};

/* --- check.c --------------------------------------------------------------------------------------------------- */
/* Unreachable, but allocated before this process was forked: somebody else's to report. */
bool check_head_is_inherited(const struct check *check, uint32_t head);
bool check_block_is_inherited(const struct check *check, uint32_t block);

/* --- check_group.c --------------------------------------------------------------------------------------------- */
bool check_make_groups(struct check *check, struct check_groups *ret);
void check_groups_free(struct check_groups *groups);

/* --- check_show.c ---------------------------------------------------------------------------------------------- */
bool check_show_group(struct check *check, const struct check_group *group);

/* --- check_usage.c --------------------------------------------------------------------------------------------- */
/* What each stack allocated. The first `named` in order of `by` get names for their stacks, 0: all. */
bool check_add_usages(struct check *check, enum usage_by by, uint32_t named);

/* --- check_names.c --------------------------------------------------------------------------------------------- */
/* The recording's index for an image's site; REC_NONE for none. */
bool check_name_site(struct check *check, uint32_t site, uint32_t *ret);
/* How each site's stack ends, enum site_end, by their numbers; no names are needed for it. The caller's to free(); NULL when
 * memory is out. */
uint8_t *check_site_ends(const struct check *check, uint32_t *ret_count);
/* The first site asked for whose stack reads the same, line by line: a loop that the compiler unrolled allocates at
 * several addresses of one line, and that is one finding. */
bool check_same_site(struct check *check, uint32_t site, uint32_t *ret);
/* addr: the word in the root, which names a global; 0: none. */
bool check_name_root(struct check *check, uint32_t root, uint64_t addr, uint32_t *ret);
/* `kind`, unless the innermost frames say operator new. */
uint32_t check_kind_of(const struct recording *rec, uint32_t rec_site, uint32_t kind);
void check_names_free(struct check *check);

#endif
