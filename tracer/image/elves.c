/* SPDX-License-Identifier: MIT */
/*
 * Loaded ELF files, told by what is mapped: a file's first page that is an ELF header, whose program headers then
 * say where the rest of it lies. Needed for roots: which memory is a module's data, bss included (the kernel merges a
 * bss with what follows it, so a mapping's end says nothing).
 */
#include "tracer/image/view.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define HEADERS_MAX 128u

struct headers {
    Elf64_Ehdr file;
    Elf64_Phdr program[HEADERS_MAX];
};

static uint64_t page_down(uint64_t addr)
{
    return addr & -MEMORY_PAGE;
}

static uint64_t page_up(uint64_t addr)
{
    return (addr + MEMORY_PAGE - 1) & -MEMORY_PAGE;
}

static bool read_headers(const struct image *image, const struct map *map, struct headers *ret)
{
    const Elf64_Ehdr *file = &ret->file;
    if (!memory_read(&image->memory, map->start, &ret->file, sizeof(ret->file)) ||
        memcmp(file->e_ident, ELFMAG, SELFMAG) != 0 || file->e_ident[EI_CLASS] != ELFCLASS64 ||
        (file->e_type != ET_EXEC && file->e_type != ET_DYN))
        return false;
    if (file->e_phnum == 0 || file->e_phnum > HEADERS_MAX || file->e_phentsize != sizeof(Elf64_Phdr) ||
        file->e_phoff >= map->end - map->start)
        return false;
    return memory_read(&image->memory, map->start + file->e_phoff, ret->program,
                       file->e_phnum * sizeof(Elf64_Phdr));
}

/* A file that was only mapped to be read has all its bytes in file order: then its segments are not where its
 * program headers put them, and this says so. */
static bool segment_is_loaded(const struct image *image, const struct map *first, const Elf64_Phdr *p,
                              uint64_t at)
{
    const struct map *map = maps_find(&image->maps, page_down(at));
    return map && map->inode == first->inode && map->device == first->device &&
           map->offset + (page_down(at) - map->start) == page_down(p->p_offset);
}

static bool add_segment(struct image *image, const struct segment *segment)
{
    if (image->segment_count % 64 == 0) {
        struct segment *grown =
            realloc(image->segments, (image->segment_count + 64) * sizeof(*image->segments));
        if (!grown)
            return false;
        image->segments = grown;
    }
    image->segments[image->segment_count++] = *segment;
    return true;
}

/* false: memory is out. An ELF that is not loaded changes nothing. */
static bool load_elf(struct image *image, const struct map *map, const struct headers *headers)
{
    struct elf elf = {.shown = {.path = map->name, .start = UINT64_MAX}};
    uint32_t segments_before = image->segment_count;
    bool based = false;
    for (unsigned i = 0; i < headers->file.e_phnum; i++) {
        const Elf64_Phdr *p = &headers->program[i];
        if (p->p_type == PT_LOAD && !based) {
            based = true;
            elf.shown.bias = map->start - page_down(p->p_vaddr) + page_down(p->p_offset);
        }
        uint64_t at = elf.shown.bias + p->p_vaddr, end = at + p->p_memsz;
        if (p->p_type == PT_DYNAMIC)
            elf.dynamic = at;
        if (p->p_type != PT_LOAD || p->p_memsz == 0 || end < at)
            continue;
        if (p->p_filesz && !segment_is_loaded(image, map, p, at)) {
            image->segment_count = segments_before;
            return true;
        }
        elf.shown.start = page_down(at) < elf.shown.start ? page_down(at) : elf.shown.start;
        elf.shown.end = page_up(end) > elf.shown.end ? page_up(end) : elf.shown.end;
        struct segment segment = {page_down(at), page_up(end), image->elf_count};
        if (p->p_flags & PF_W && !add_segment(image, &segment))
            return false;
    }
    if (!based)
        return true;
    struct elf *grown = realloc(image->elves, (image->elf_count + 1) * sizeof(*grown));
    if (!grown)
        return false;
    image->elves = grown;
    image->elves[image->elf_count++] = elf;
    return true;
}

/* Read-only parts of loaded files hold vtables; relocated ones were writable once and are read-only now. */
static bool load_constant(struct image *image)
{
    for (size_t i = 0; i < image->maps.count; i++) {
        const struct map *map = &image->maps.items[i];
        if (map->readable && !map->writable && map_is_file(map) && image_elf_at(image, map->start) &&
            !ranges_add(&image->constant, map->start, map->end))
            return false;
    }
    ranges_normalize(&image->constant);
    return true;
}

bool elves_load(struct image *image)
{
    struct headers headers;
    for (size_t i = 0; i < image->maps.count; i++) {
        const struct map *map = &image->maps.items[i];
        if (map->offset == 0 && map->readable && !map->shared && map_is_file(map) &&
            read_headers(image, map, &headers) && !load_elf(image, map, &headers))
            return false;
    }
    return load_constant(image);
}

/* elves are ascending by start, as the maps are. */
const struct image_elf *image_elf_at(const struct image *image, uint64_t addr)
{
    uint32_t low = 0, high = image->elf_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (image->elves[middle].shown.end <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < image->elf_count && image->elves[low].shown.start <= addr)
        return &image->elves[low].shown;
    return NULL;
}
