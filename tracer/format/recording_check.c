/* SPDX-License-Identifier: MIT */
/* The one validator of a recording: the writer's proof and the reader's distrust. */
#include "tracer/format/recording.h"
#include "tracer/format/tables.h"

static bool is_index(uint32_t index, uint32_t count)
{
    return index < count;
}

static bool is_index_or_none(uint32_t index, uint32_t count)
{
    return index == REC_NONE || index < count;
}

/* Written so that no sum can wrap. An empty range may start anywhere up to the end. All ranges of one kind together
 * are no longer than the array: a small file must not make its reader walk the same million blocks a million times. */
static bool is_range(uint32_t first, uint32_t length, uint32_t count, uint64_t *sum)
{
    *sum += length;
    return first <= count && length <= count - first && *sum <= count;
}

static bool modules_ok(const struct recording *rec)
{
    for (uint32_t i = 0; i < rec->modules_count; i++)
        if (rec->modules[i].build_id_length > sizeof rec->modules[i].build_id)
            return false;
    return true;
}

static bool frames_ok(const struct recording *rec)
{
    uint64_t lines = 0;
    for (uint32_t i = 0; i < rec->frames_count; i++) {
        const struct rec_frame *f = &rec->frames[i];
        if (!is_index_or_none(f->module, rec->modules_count) ||
            !is_range(f->first_line, f->line_count, rec->lines_count, &lines))
            return false;
    }
    return true;
}

static bool frame_list_ok(const struct recording *rec)
{
    for (uint32_t i = 0; i < rec->frame_list_count; i++)
        if (!is_index(rec->frame_list[i], rec->frames_count))
            return false;
    return true;
}

static bool sites_ok(const struct recording *rec)
{
    uint64_t frames = 0;
    for (uint32_t i = 0; i < rec->sites_count; i++) {
        const struct rec_site *s = &rec->sites[i];
        if (!is_range(s->first_frame, s->frame_count, rec->frame_list_count, &frames) ||
            s->end > SITE_END_NO_STACK)
            return false;
    }
    return true;
}

static bool groups_ok(const struct recording *rec)
{
    uint64_t blocks = 0, edges = 0;
    for (uint32_t i = 0; i < rec->groups_count; i++) {
        const struct rec_group *g = &rec->groups[i];
        if (g->cls >= REC_CLASSES || g->kind > KIND_NEW_ARRAY ||
            !is_index_or_none(g->site, rec->sites_count) ||
            !is_range(g->first_block, g->block_count, rec->blocks_count, &blocks) ||
            !is_range(g->first_edge, g->edge_count, rec->edges_count, &edges) || g->aged_blocks > g->blocks ||
            (g->aged_blocks && g->newest_ms > g->oldest_ms))
            return false;
    }
    return true;
}

static bool blocks_ok(const struct recording *rec)
{
    for (uint32_t i = 0; i < rec->blocks_count; i++)
        if (!is_index_or_none(rec->blocks[i].site, rec->sites_count) ||
            rec->blocks[i].kind > KIND_NEW_ARRAY || rec->blocks[i].has_age > 1)
            return false;
    return true;
}

static bool edges_ok(const struct recording *rec)
{
    for (uint32_t i = 0; i < rec->edges_count; i++) {
        const struct rec_edge *e = &rec->edges[i];
        if (!is_index(e->to_block, rec->blocks_count))
            return false;
        /* One holder: a block or a root. */
        if ((e->from_block == REC_NONE) == (e->from_root == REC_NONE))
            return false;
        if (!is_index_or_none(e->from_block, rec->blocks_count) ||
            !is_index_or_none(e->from_root, rec->roots_count))
            return false;
    }
    return true;
}

static bool meta_ok(const struct recording *rec)
{
    return rec->meta.verdict <= REC_LEAKS;
}

bool recording_check(const struct recording *rec, const char **ret_where)
{
    static const struct {
        bool (*ok)(const struct recording *rec);
        const char *name;
    } parts[] = {
        {meta_ok, "meta"},   {modules_ok, "modules"}, {frames_ok, "frames"}, {frame_list_ok, "frame list"},
        {sites_ok, "sites"}, {groups_ok, "groups"},   {blocks_ok, "blocks"}, {edges_ok, "edges"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].ok(rec))
            continue;
        if (ret_where != NULL)
            *ret_where = parts[i].name;
        return false;
    }
    return true;
}
