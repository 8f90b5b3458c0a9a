/* SPDX-License-Identifier: MIT */
/* Roots of loaded files: their writable segments, and what the loader keeps in memory of its own. */
#include "tracer/image/view.h"

#include <elf.h>

#define DYNAMIC_MAX   512u
#define LINK_MAPS_MAX 65536u
#define LINK_MAP_NEXT 24u /* of struct link_map in <link.h>: address, name, dynamic section, next, previous */
#define DEBUG_MAP     8u  /* of struct r_debug in <link.h>: version, first link_map */

bool roots_add_modules(struct image *image)
{
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct segment *segment = &image->segments[i];
        struct image_root root = {
            .kind = ROOT_GLOBAL, .strict = true, .where = image->elves[segment->elf].shown.path};
        if (!roots_add(image, &root, segment->start, segment->end))
            return false;
    }
    return true;
}

/* The first link_map, by the DT_DEBUG entry that the loader fills in the program's dynamic section; 0: none. */
static uint64_t first_link_map(struct image *image, const struct elf *elf)
{
    Elf64_Dyn entry;
    uint64_t map;
    for (unsigned i = 0; elf->dynamic % 8 == 0 && i < DYNAMIC_MAX; i++) {
        uint64_t at = elf->dynamic + i * sizeof(entry), tag;
        if (!memory_word(&image->memory, at, &tag) || tag == DT_NULL ||
            !memory_word(&image->memory, at + 8, &entry.d_un.d_val))
            break;
        if (tag == DT_DEBUG && entry.d_un.d_val && entry.d_un.d_val % 8 == 0 &&
            memory_word(&image->memory, entry.d_un.d_val + DEBUG_MAP, &map))
            return map;
    }
    return 0;
}

/* Before the loader has a malloc to call it takes pages of its own: the first link_maps lie in them, and the only
 * pointers to later ones of our blocks. The rest of such a piece is the loader's too. */
static bool add_piece_of_loader(struct image *image, uint64_t link_map)
{
    struct image_root root = {.kind = ROOT_GLOBAL, .strict = true, .where = "the dynamic loader's memory"};
    const struct map *map = maps_find(&image->maps, link_map);
    struct range piece = {0};
    if (!map || map->name[0] || map->shared || !image_piece_at(image, link_map, &piece))
        return true;
    return roots_add(image, &root, piece.start, piece.end);
}

bool roots_add_loader(struct image *image)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < image->elf_count && !at; i++)
        if (image->elves[i].dynamic)
            at = first_link_map(image, &image->elves[i]);
    for (unsigned i = 0; at && at % 8 == 0 && i < LINK_MAPS_MAX; i++) {
        if (!add_piece_of_loader(image, at))
            return false;
        if (!memory_word(&image->memory, at + LINK_MAP_NEXT, &at))
            break;
    }
    return true;
}
