/* SPDX-License-Identifier: MIT */
#include "tracer/image/view.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void image_note(struct image *image, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (!image->note)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    image->note(image->note_ctx, line);
}

struct piece_search {
    uint64_t addr;
    struct range *ret;
};

static bool keep_if_inside(void *ctx, uint64_t start, uint64_t end)
{
    struct piece_search *search = ctx;
    if (search->addr < start || search->addr >= end)
        return true;
    *search->ret = (struct range){start, end};
    return false;
}

bool image_piece_at(const struct image *image, uint64_t addr, struct range *ret)
{
    const struct map *map = maps_find(&image->maps, addr);
    struct range outside_own = {0};
    struct piece_search first = {addr, &outside_own}, second = {addr, ret};
    /* The callback stops when it has found the piece: "false" is success here. */
    return map && !ranges_outside(&image->own, map->start, map->end, keep_if_inside, &first) &&
           !ranges_outside(&image->claimed, outside_own.start, outside_own.end, keep_if_inside, &second);
}

static enum image_status load_maps(struct image *image)
{
    char *text = image->source->maps(image->source->ctx);
    if (!text || !maps_parse(text, &image->maps)) {
        image_note(image, "the target's memory map cannot be read");
        return IMAGE_UNREADABLE;
    }
    image->memory.maps = &image->maps;
    if (image->maps.refused)
        image_note(image, "%zu lines of the target's memory map make no sense", image->maps.refused);
    return IMAGE_OK;
}

static enum image_status load(struct image *image)
{
    if (!memory_open(&image->memory, image->source, image->target.alloc_root) || !record_load(image))
        return IMAGE_NO_MEMORY;
    enum image_status status = blocks_load(image);
    if (status == IMAGE_OK)
        status = load_maps(image);
    if (status == IMAGE_OK && (!elves_load(image) || !threads_load(image) || !roots_load(image)))
        status = IMAGE_NO_MEMORY;
    return status;
}

static enum image_status load_tables(struct image *image)
{
    if (!memory_open(&image->memory, image->source, image->target.record_root) || !record_load(image))
        return IMAGE_NO_MEMORY;
    return image->recorded ? IMAGE_OK : IMAGE_UNREADABLE;
}

static enum image_status open_by(enum image_status (*load_all)(struct image *image),
                                 const struct memory_source *source, const struct wire_target *target,
                                 void (*note)(void *ctx, const char *line), void *ctx, struct image **ret)
{
    struct image *image = calloc(1, sizeof(*image));
    if (!image)
        return IMAGE_NO_MEMORY;
    image->source = source;
    image->target = *target;
    image->note = note;
    image->note_ctx = ctx;
    enum image_status status = load_all(image);
    if (status == IMAGE_OK)
        *ret = image;
    else
        image_close(image);
    return status;
}

enum image_status image_open(const struct memory_source *source, const struct wire_target *target,
                             void (*note)(void *ctx, const char *line), void *ctx, struct image **ret)
{
    return open_by(load, source, target, note, ctx, ret);
}

enum image_status image_open_tables(const struct memory_source *source, const struct wire_target *target,
                                    void (*note)(void *ctx, const char *line), void *ctx, struct image **ret)
{
    return open_by(load_tables, source, target, note, ctx, ret);
}

void image_close(struct image *image)
{
    if (!image)
        return;
    for (uint32_t i = 0; image->module_paths && i < image->module_count; i++)
        free(image->module_paths[i]);
    for (size_t i = 0; i < image->name_count; i++)
        free(image->names[i]);
    finder_free(&image->finder);
    memory_close(&image->memory);
    maps_free(&image->maps);
    ranges_free(&image->own);
    ranges_free(&image->tables);
    ranges_free(&image->constant);
    ranges_free(&image->claimed);
    void *rest[] = {image->blocks,      image->nodes, image->usages,   image->modules, image->module_paths,
                    image->annotations, image->elves, image->segments, image->threads, image->places,
                    image->tls_words,   image->roots, image->extras,   image->values,  image->names};
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
        free(rest[i]);
    free(image);
}

uint32_t image_block_count(const struct image *image)
{
    return image->block_count;
}

const struct image_block *image_blocks(const struct image *image)
{
    return image->blocks;
}
