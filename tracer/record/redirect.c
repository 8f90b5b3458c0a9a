/* SPDX-License-Identifier: MIT */
#include "tracer/record/redirect.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "allocator/platform.h"

/* What of a library's dynamic section tells where its imports are; addresses, as the loader has relocated them. */
struct imports {
    const ElfW(Rela) * tables[2];
    size_t counts[2];
    const ElfW(Sym) * symbols;
    const char *strings;
    bool bound_now; /* then the slots are in pages that the loader made read-only */
};

static struct imports imports_of(const struct link_map *map)
{
    struct imports imports = {0};

    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++) {
        switch (d->d_tag) {
        case DT_JMPREL:
            imports.tables[0] = (const void *)d->d_un.d_ptr;
            break;
        case DT_PLTRELSZ:
            imports.counts[0] = d->d_un.d_val / sizeof(ElfW(Rela));
            break;
        case DT_RELA:
            imports.tables[1] = (const void *)d->d_un.d_ptr;
            break;
        case DT_RELASZ:
            imports.counts[1] = d->d_un.d_val / sizeof(ElfW(Rela));
            break;
        case DT_SYMTAB:
            imports.symbols = (const void *)d->d_un.d_ptr;
            break;
        case DT_STRTAB:
            imports.strings = (const void *)d->d_un.d_ptr;
            break;
        case DT_FLAGS:
            imports.bound_now = d->d_un.d_val & DF_BIND_NOW;
            break;
        default:
            break;
        }
    }
    return imports;
}

static void **find_slot(const struct imports *imports, uintptr_t bias, const char *name)
{
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; imports->tables[t] && i < imports->counts[t]; i++) {
            const ElfW(Rela) *r = &imports->tables[t][i];
            size_t symbol = ELF64_R_SYM(r->r_info);
            size_t type = ELF64_R_TYPE(r->r_info);

            if ((type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT) &&
                strcmp(imports->strings + imports->symbols[symbol].st_name, name) == 0)
                return (void **)(bias + r->r_offset);
        }
    }
    return NULL;
}

bool redirect_import(void *handle, const char *name, void *function)
{
    struct link_map *map;

    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
        return false;
    struct imports imports = imports_of(map);
    if (!imports.symbols || !imports.strings)
        return false;
    void **slot = find_slot(&imports, map->l_addr, name);
    if (!slot)
        return false;
    void *page = (void *)((uintptr_t)slot & ~(uintptr_t)(PLATFORM_PAGE - 1));
    if (mprotect(page, PLATFORM_PAGE, PROT_READ | PROT_WRITE) != 0)
        return false;
    *slot = function;
    if (imports.bound_now)
        mprotect(page, PLATFORM_PAGE, PROT_READ);
    return true;
}
