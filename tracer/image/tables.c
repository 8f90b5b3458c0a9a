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

/* What the tallies speak of is complete by now, but there may be more of it than there was when the root was read: a trace
 * goes on meanwhile. */
static void read_root_again(struct image *image)
{
    struct record_root *root = &image->record, now;
    if (!memory_read(&image->memory, image->target.record_root, &now, sizeof(now)))
        return;
    root->site_count = now.site_count;
    memcpy(root->site_segment, now.site_segment, sizeof(root->site_segment));
    root->module_count = now.module_count;
    root->modules = now.modules;
    root->module_capacity = now.module_capacity;
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
    tallies_load(image);
    read_root_again(image);
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

uint32_t image_site_count(const struct image *image)
{
    return image->node_count;
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
