/* SPDX-License-Identifier: MIT */
#include "tracer/record/code.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

/* The headers are believed only inside the first page, which is surely mapped. */
#define HEADER_PAGE 4096u

/* Weak: in a program of another C library than glibc, recording is refused, but the library can be loaded. */
#pragma weak _dl_find_object

/* node's code, for one, lies between its constants and its tables, with a hole on either side. */
static void find_tables(struct code_object *object)
{
    struct dl_find_object found;
    uint64_t at = object->eh_frame_hdr;

    object->tables_start = object->start;
    object->tables_end = object->end;
    if (at - object->start < object->end - object->start ||
        _dl_find_object((void *)(uintptr_t)at, &found) != 0 || found.dlfo_link_map != object->link_map)
        return;
    object->tables_start = (uintptr_t)found.dlfo_map_start;
    object->tables_end = (uintptr_t)found.dlfo_map_end;
}

bool code_find(uint64_t address, struct code_object *ret)
{
    struct dl_find_object found;

    if (!_dl_find_object || _dl_find_object((void *)(uintptr_t)address, &found) != 0)
        return false;
    ret->start = (uintptr_t)found.dlfo_map_start;
    ret->end = (uintptr_t)found.dlfo_map_end;
    ret->bias = found.dlfo_link_map->l_addr;
    ret->eh_frame_hdr = (uintptr_t)found.dlfo_eh_frame;
    ret->link_map = found.dlfo_link_map;
    ret->path = found.dlfo_link_map->l_name ? found.dlfo_link_map->l_name : "";
    find_tables(ret);
    return true;
}

/* The program's own, wherever its segments are. */
static const ElfW(Phdr) * headers_of_program(const struct code_object *object, size_t *ret_count)
{
    if (object->path[0] != '\0')
        return NULL;
    *ret_count = getauxval(AT_PHNUM);
    return (const ElfW(Phdr) *)getauxval(AT_PHDR);
}

/* The program headers, when the ELF header is mapped at the start of the object, as every linker lays it out.
 */
static const ElfW(Phdr) * program_headers(const struct code_object *object, size_t *ret_count)
{
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)(uintptr_t)object->start;
    uint64_t size = object->end - object->start;

    if (size < sizeof(*header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return headers_of_program(object, ret_count);
    if (header->e_phentsize != sizeof(ElfW(Phdr)) ||
        header->e_phoff + (uint64_t)header->e_phnum * sizeof(ElfW(Phdr)) > HEADER_PAGE)
        return NULL;
    *ret_count = header->e_phnum;
    return (const ElfW(Phdr) *)(uintptr_t)(object->start + header->e_phoff);
}

static uint32_t build_id_in_notes(const char *notes, size_t size, uint8_t *id, uint32_t max)
{
    while (size >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)(const void *)notes;
        size_t name = (note->n_namesz + 3u) & ~(size_t)3u;
        size_t whole = sizeof(*note) + name + ((note->n_descsz + 3u) & ~(size_t)3u);

        if (whole > size)
            return 0;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(note + 1, "GNU", 4) == 0) {
            uint32_t length = note->n_descsz < max ? note->n_descsz : max;

            memcpy(id, notes + sizeof(*note) + name, length);
            return length;
        }
        notes += whole;
        size -= whole;
    }
    return 0;
}

static bool is_of_object(const struct code_object *object, uint64_t at, uint64_t size)
{
    struct code_object there;

    return code_find(at, &there) && there.link_map == object->link_map && size <= there.end - at;
}

uint32_t code_build_id(const struct code_object *object, uint8_t *id, uint32_t max)
{
    size_t count = 0;
    const ElfW(Phdr) *headers = program_headers(object, &count);

    for (size_t i = 0; headers && i < count; i++) {
        uint64_t at = object->bias + headers[i].p_vaddr;

        if (headers[i].p_type != PT_NOTE || !is_of_object(object, at, headers[i].p_memsz))
            continue;
        uint32_t length = build_id_in_notes((const char *)(uintptr_t)at, headers[i].p_memsz, id, max);
        if (length)
            return length;
    }
    return 0;
}
