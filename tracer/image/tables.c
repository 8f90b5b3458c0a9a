/* SPDX-License-Identifier: MIT */
/* What the recorder has written down in the target: sites, modules; and what the program has said of its memory. */
#include "tracer/image/view.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX       (1u << 27) /* 2 GiB of them */
#define MODULES_MAX     (1u << 20)
#define ANNOTATIONS_MAX (1u << 22)
#define PATH_LENGTH_MAX 4096u

static bool load_nodes(struct image *image)
{
    uint32_t wanted = image->record.site_count < NODES_MAX ? image->record.site_count : NODES_MAX;
    uint32_t lost = 0;
    if (wanted < image->record.site_count)
        image_note(image, "only the first %u of %u stack nodes are read", wanted, image->record.site_count);
    image->nodes = calloc((size_t)wanted + 1, sizeof(*image->nodes));
    if (!image->nodes)
        return false;
    for (uint32_t segment = 0; segment < SITE_SEGMENTS; segment++) {
        uint32_t first = site_segment_first(segment), next = site_segment_first(segment + 1);
        if (first >= wanted)
            break;
        uint32_t count = (next < wanted ? next : wanted) - first;
        if (!memory_read(&image->memory, image->record.site_segment[segment], image->nodes + first,
                         count * sizeof(*image->nodes))) {
            memset(image->nodes + first, 0, count * sizeof(*image->nodes));
            lost += count;
        }
    }
    if (lost)
        image_note(image, "%u stack nodes cannot be read: some stacks are cut", lost);
    image->node_count = wanted;
    return true;
}

/* Paths are read one by one; one that cannot be read is "". false: memory is out. */
static bool load_module_path(struct image *image, uint32_t i)
{
    uint32_t length = image->modules[i].path_length;
    if (length > PATH_LENGTH_MAX)
        length = 0;
    char *path = calloc(1, (size_t)length + 1);
    image->module_paths[i] = path;
    if (path && length && !memory_read(&image->memory, image->modules[i].path, path, length))
        path[0] = '\0';
    return path != NULL;
}

static bool load_modules(struct image *image)
{
    uint32_t count = image->record.module_count;
    if (count > image->record.module_capacity || count > MODULES_MAX) {
        image_note(image, "the target's list of modules is damaged");
        count = 0;
    }
    image->modules = calloc((size_t)count + 1, sizeof(*image->modules));
    image->module_paths = calloc((size_t)count + 1, sizeof(*image->module_paths));
    if (!image->modules || !image->module_paths)
        return false;
    if (count && !memory_read(&image->memory, image->record.modules, image->modules,
                              count * sizeof(*image->modules))) {
        image_note(image, "the target's list of modules cannot be read");
        count = 0;
    }
    image->module_count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (image->modules[i].build_id_length > MODULE_BUILD_ID_MAX)
            image->modules[i].build_id_length = 0;
        if (!load_module_path(image, i))
            return false;
    }
    return true;
}

static bool load_annotations(struct image *image)
{
    struct annotation_table table;
    if (!image->target.annotations)
        return true;
    if (!memory_read(&image->memory, image->target.annotations, &table, sizeof(table)) ||
        table.magic != ANNOTATION_MAGIC || table.version != RECORD_LAYOUT_VERSION ||
        table.count > table.capacity || table.count > ANNOTATIONS_MAX) {
        image_note(image, "the program's annotations cannot be read: what it ignores may be reported");
        return true;
    }
    if (table.dropped)
        image_note(image, "%u annotations found no room in the target", table.dropped);
    image->annotations = calloc((size_t)table.count + 1, sizeof(*image->annotations));
    if (!image->annotations)
        return false;
    if (memory_read(&image->memory, table.entries, image->annotations,
                    table.count * sizeof(*image->annotations)))
        image->annotation_count = table.count;
    return true;
}

#define THREADS_MAX        (1u << 20) /* more at once than any system has: the list was overwritten */
#define TALLY_CAPACITY_MAX (1u << 28)
#define TALLIES_AT_ONCE    64u

static bool keep_usage(struct image *image, const struct site_tally *tally)
{
    if (image->usage_count == image->usage_capacity) {
        uint32_t capacity = image->usage_capacity ? image->usage_capacity * 2 : 1024;
        struct site_tally *grown = realloc(image->usages, capacity * sizeof(*grown));
        if (!grown)
            return false;
        image->usages = grown;
        image->usage_capacity = capacity;
    }
    image->usages[image->usage_count++] = *tally;
    return true;
}

/* Of a sampled recording, whose tallies count parts of blocks. */
static void whole_blocks(struct site_tally *tally)
{
    tally->allocations = (tally->allocations + TALLY_PARTS / 2) / TALLY_PARTS;
    tally->frees = (tally->frees + TALLY_PARTS / 2) / TALLY_PARTS;
    tally->temporary = (tally->temporary + TALLY_PARTS / 2) / TALLY_PARTS;
}

static bool add_table(struct image *image, uint64_t at)
{
    struct record_root *root = &image->record;
    struct site_tally tally[TALLIES_AT_ONCE];
    struct tally_table table;
    if (!memory_read(&image->memory, at, &table, sizeof(table)) || table.capacity > TALLY_CAPACITY_MAX)
        return false;
    at += sizeof(table);
    for (uint64_t left = table.capacity; left > 0;) {
        uint64_t count = left < TALLIES_AT_ONCE ? left : TALLIES_AT_ONCE;
        if (!memory_read(&image->memory, at, tally, count * sizeof(tally[0])))
            return false;
        for (uint64_t i = 0; i < count; i++) {
            if (root->sample)
                whole_blocks(&tally[i]);
            root->allocations += tally[i].allocations;
            root->frees += tally[i].frees;
            if (tally[i].site != 0 && !keep_usage(image, &tally[i]))
                return false;
        }
        at += count * sizeof(tally[0]);
        left -= count;
    }
    return true;
}

static int by_site(const void *a, const void *b)
{
    const struct site_tally *x = a, *y = b;
    return x->site < y->site ? -1 : x->site > y->site;
}

/* The threads' entries of a site become one. */
static void merge_usages(struct image *image)
{
    struct site_tally *all = image->usages;
    uint32_t kept = 0;
    if (image->usage_count == 0)
        return;
    qsort(all, image->usage_count, sizeof(*all), by_site);
    for (uint32_t i = 1; i < image->usage_count; i++) {
        struct site_tally *to = &all[kept];
        if (all[i].site != to->site) {
            all[++kept] = all[i];
            continue;
        }
        to->allocations += all[i].allocations;
        to->frees += all[i].frees;
        to->bytes += all[i].bytes;
        to->freed_bytes += all[i].freed_bytes;
        to->temporary += all[i].temporary;
        to->peak += all[i].peak;
        to->variance += all[i].variance;
    }
    image->usage_count = kept + 1;
}

static void add_tallies(struct image *image)
{
    struct record_root *root = &image->record;
    struct thread_tallies thread;
    uint64_t at = root->tallies;

    bool unreadable = false;
    for (uint32_t i = 0; at != 0 && i < THREADS_MAX; i++, at = thread.next) {
        if (!memory_read(&image->memory, at, &thread, sizeof(thread))) {
            unreadable = true;
            break;
        }
        unreadable |= !add_table(image, thread.table);
        root->allocations += thread.allocations;
        root->frees += thread.frees;
    }
    if (unreadable)
        image_note(image,
                   "a thread's tallies cannot be read: there were more allocations and frees than is said");
    merge_usages(image);
}

/* A recorder of another layout, or none: blocks and reachability are known all the same. */
static bool record_is_usable(struct image *image)
{
    struct record_root *root = &image->record;
    if (!image->target.record_root)
        return false;
    if (!memory_read(&image->memory, image->target.record_root, root, sizeof(*root)) ||
        root->magic != RECORD_MAGIC) {
        image_note(image, "the target's recorder cannot be read: no stacks");
        return false;
    }
    if (root->version != RECORD_LAYOUT_VERSION) {
        image_note(image, "the target's recorder has layout %u, this command reads %u: no stacks",
                   root->version, RECORD_LAYOUT_VERSION);
        return false;
    }
    root->unwinder[sizeof(root->unwinder) - 1] = '\0';
    add_tallies(image);
    return true;
}

bool record_load(struct image *image)
{
    image->recorded = record_is_usable(image);
    if (image->recorded && (!load_nodes(image) || !load_modules(image)))
        return false;
    return load_annotations(image);
}

const struct record_root *image_record(const struct image *image)
{
    return image->recorded ? &image->record : NULL;
}

bool image_site_node(const struct image *image, uint32_t id, struct site_node *ret)
{
    if (id < SITE_FIRST || id >= image->node_count || image->nodes[id].parent >= id)
        return false;
    *ret = image->nodes[id];
    if (ret->module >= image->module_count)
        ret->module = MODULE_NONE;
    return true;
}

uint32_t image_module_count(const struct image *image)
{
    return image->module_count;
}

const struct module_entry *image_module(const struct image *image, uint32_t index, const char **ret_path)
{
    if (index >= image->module_count)
        return NULL;
    *ret_path = image->module_paths[index];
    return &image->modules[index];
}

uint32_t image_usage_count(const struct image *image)
{
    return image->usage_count;
}

const struct site_tally *image_usages(const struct image *image)
{
    return image->usages;
}
