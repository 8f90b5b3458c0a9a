/* SPDX-License-Identifier: MIT */
/*
 * Roots: all memory outside our blocks, cut up by what it is, no byte twice.
 *
 *    first to claim a byte names it:  annotated regions, vector registers, TLS, stacks | our own memory | modules,
 *    the loader's memory, stacks of ended threads | whatever is left: wide
 *
 * The dead part of a live stack is claimed and is no root.
 */
#include "tracer/image/view.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_BITS 47
#define SHARED_MAX                                                                                           \
    ((uint64_t)4 << 30) /* shared memory searched, all of it: nobody tells which pages were written */
#define PRIVATE_MAX                                                                                          \
    ((uint64_t)4 << 40) /* one private mapping; asking which of its pages exist takes seconds then */
#define UNKNOWN_MAX ((uint64_t)16 << 30) /* the same where nobody tells which pages exist */

/* --- adding ---------------------------------------------------------------------------------------------------- */

static bool add_root(struct image *image, const struct image_root *root, bool touched_only)
{
    if (image->root_count == image->root_capacity) {
        uint32_t capacity = image->root_capacity ? image->root_capacity * 2 : 256;
        struct image_root *roots = realloc(image->roots, capacity * sizeof(*roots));
        if (roots)
            image->roots = roots;
        struct root_extra *extras = realloc(image->extras, capacity * sizeof(*extras));
        if (extras)
            image->extras = extras;
        if (!roots || !extras)
            return false;
        image->root_capacity = capacity;
    }
    image->extras[image->root_count] = (struct root_extra){touched_only, root->kind == ROOT_OWN};
    image->roots[image->root_count++] = *root;
    return true;
}

struct piece_adder {
    struct image *image;
    struct image_root root;
};

static bool is_private(const struct image *image, uint64_t addr)
{
    const struct map *map = maps_find(&image->maps, addr);
    return map && !map->shared;
}

static bool add_piece(void *ctx, uint64_t start, uint64_t end)
{
    struct piece_adder *adder = ctx;
    adder->root.start = start;
    adder->root.end = end;
    return add_root(adder->image, &adder->root,
                    is_private(adder->image, start) && is_private(adder->image, end - 1));
}

bool roots_add(struct image *image, const struct image_root *root, uint64_t start, uint64_t end)
{
    struct piece_adder adder = {image, *root};
    return ranges_outside(&image->claimed, start, end, add_piece, &adder) &&
           ranges_insert(&image->claimed, start, end);
}

bool roots_add_value(struct image *image, const struct image_root *root, uint64_t value, bool holds)
{
    if (image->value_count == image->value_capacity) {
        size_t capacity = image->value_capacity ? image->value_capacity * 2 : 256;
        struct root_value *grown = realloc(image->values, capacity * sizeof(*grown));
        if (!grown)
            return false;
        image->values = grown;
        image->value_capacity = capacity;
    }
    image->values[image->value_count++] = (struct root_value){value, image->root_count, holds};
    return add_root(image, root, false);
}

const char *roots_name(struct image *image, const char *format, ...)
{
    char *name = NULL;
    va_list arguments;
    if (image->name_count == image->name_capacity) {
        size_t capacity = image->name_capacity ? image->name_capacity * 2 : 64;
        char **grown = realloc(image->names, capacity * sizeof(*grown));
        if (!grown)
            return NULL;
        image->names = grown;
        image->name_capacity = capacity;
    }
    va_start(arguments, format);
    int length = vasprintf(&name, format, arguments);
    va_end(arguments);
    if (length < 0)
        return NULL;
    return image->names[image->name_count++] = name;
}

/* --- annotations ------------------------------------------------------------------------------------------------ */

static bool add_annotated(struct image *image)
{
    struct image_root root = {
        .kind = ROOT_ANNOTATED, .strict = true, .where = "a root region the program declared"};
    for (uint32_t i = 0; i < image->annotation_count; i++) {
        const struct annotation *a = &image->annotations[i];
        if (a->kind == ANNOTATION_ROOT && !roots_add(image, &root, a->start, a->end))
            return false;
    }
    /* One root for all ignored blocks; what it refers to is their starts. */
    root.where = "the program, which asked to ignore it";
    for (uint32_t i = 0; i < image->block_count; i++)
        if (image->blocks[i].ignored && !roots_add_value(image, &root, image->blocks[i].addr, true))
            return false;
    return true;
}

/* --- wide roots ------------------------------------------------------------------------------------------------- */

static bool is_device(const struct map *map)
{
    return (strncmp(map->name, "/dev/", 5) == 0 && strncmp(map->name, "/dev/shm/", 9) != 0 &&
            strncmp(map->name, "/dev/zero", 9) != 0) ||
           strncmp(map->name, "anon_inode:", 11) == 0;
}

static bool is_of_kernel(const struct map *map)
{
    return strncmp(map->name, "[v", 2) == 0 || strncmp(map->name, "[uprobes", 8) == 0;
}

/* May a page of it hold a pointer that the program put there? */
static bool is_wide(const struct image *image, const struct map *map)
{
    if (!map->readable || map->end >> ADDRESS_BITS || is_device(map) || is_of_kernel(map))
        return false;
    /* A file's own code and constants hold none, unless the page was made the program's own: the kernel can tell. */
    return map->shared || map->writable || !map_is_file(map) || image->memory.residency;
}

/* Is there room in the budget? Says so when not. */
static bool afford(struct image *image, const struct map *map, uint64_t *shared_left)
{
    uint64_t size = map->end - map->start;
    uint64_t limit = map->shared ? *shared_left : image->memory.residency ? PRIVATE_MAX : UNKNOWN_MAX;
    if (size > limit) {
        image_note(
            image,
            "%s at %llx: %llu MiB were not searched; a block that only it refers to counts as unreachable",
            map->name[0] ? map->name : "anonymous memory", (unsigned long long)map->start,
            (unsigned long long)(size >> 20));
        return false;
    }
    if (map->shared)
        *shared_left -= size;
    return true;
}

static bool add_wide(struct image *image)
{
    uint64_t shared_left = SHARED_MAX;
    for (size_t i = 0; i < image->maps.count; i++) {
        const struct map *map = &image->maps.items[i];
        struct image_root root = {.kind = ROOT_WIDE, .where = map->name[0] ? map->name : "anonymous"};
        if (is_wide(image, map) && afford(image, map, &shared_left) &&
            !roots_add(image, &root, map->start, map->end))
            return false;
    }
    return true;
}

/* The recorder's tables may lie in a trace file, whose mapping is long and mostly holes. What it points to is in it. */
static bool claim_trace(struct image *image)
{
    struct trace_header header;
    uint64_t page = image->target.record_root & ~(MEMORY_PAGE - 1);
    if (!image->target.record_root || !memory_read(&image->memory, page, &header, sizeof(header)) ||
        header.magic != TRACE_MAGIC || header.base != page || header.base + header.size < header.base)
        return true;
    return ranges_insert(&image->claimed, header.base, header.base + header.size);
}

/* What the recorder and libunwind took from our own malloc, our tables hold. For the program's blocks they are no
 * root: stacks that the recorder ran on are full of stale words. */
static bool claim_own(struct image *image)
{
    if (!claim_trace(image))
        return false;
    struct image_root root = {.kind = ROOT_OWN, .strict = true, .where = "heaptally itself"};
    for (size_t i = 0; i < image->tables.count; i++)
        if (!roots_add(image, &root, image->tables.items[i].start, image->tables.items[i].end))
            return false;
    for (size_t i = 0; i < image->own.count; i++)
        if (!ranges_insert(&image->claimed, image->own.items[i].start, image->own.items[i].end))
            return false;
    return true;
}

bool roots_load(struct image *image)
{
    return add_annotated(image) && roots_add_threads(image) && claim_own(image) && roots_add_modules(image) &&
           roots_add_loader(image) && roots_add_ended(image) && roots_add_kernel(image) && add_wide(image);
}

uint32_t image_root_count(const struct image *image)
{
    return image->root_count;
}

const struct image_root *image_root_at(const struct image *image, uint32_t root)
{
    return root < image->root_count ? &image->roots[root] : NULL;
}
