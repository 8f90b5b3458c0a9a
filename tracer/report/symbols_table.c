/* SPDX-License-Identifier: MIT */
#include "tracer/report/symbols_table.h"

#include <stdlib.h>

/* Symbols that overlap are few and near; a hostile table must not make every look-up a walk through it. */
#define LOOK_BACK 256

/* Weighed so that size decides before binding. */
static uint32_t rank_of(const GElf_Sym *sym)
{
    static const uint32_t binding[] = {[STB_LOCAL] = 2, [STB_GLOBAL] = 0, [STB_WEAK] = 1};
    unsigned b = GELF_ST_BIND(sym->st_info);
    return (sym->st_size == 0 ? 4 : 0) + (b <= STB_WEAK ? binding[b] : 3);
}

static bool is_wanted(const GElf_Sym *sym)
{
    unsigned type = GELF_ST_TYPE(sym->st_info);
    return type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE ||
           (type == STT_OBJECT && sym->st_size > 0);
}

/* Where an unsized symbol ends at the latest; its own start when its section is not known. */
static Dwarf_Addr section_end(Elf *elf, GElf_Word index, const GElf_Sym *sym, Dwarf_Addr start)
{
    GElf_Shdr header;
    Elf_Scn *section = elf == NULL ? NULL : elf_getscn(elf, index);
    if (section == NULL || gelf_getshdr(section, &header) == NULL || sym->st_value < header.sh_addr ||
        sym->st_value - header.sh_addr >= header.sh_size)
        return start;
    return start + (header.sh_size - (sym->st_value - header.sh_addr));
}

static int compare(const void *left, const void *right)
{
    const struct table_symbol *a = left;
    const struct table_symbol *b = right;
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

static bool read_symbol(Dwfl_Module *mod, int i, struct table_symbol *ret)
{
    GElf_Sym sym;
    GElf_Addr addr;
    GElf_Word section;
    Elf *elf;
    Dwarf_Addr bias;
    const char *name = dwfl_module_getsym_info(mod, i, &sym, &addr, &section, &elf, &bias);
    if (name == NULL || name[0] == '\0' || section == SHN_UNDEF || section == SHN_ABS || !is_wanted(&sym))
        return false;
    Dwarf_Addr end = sym.st_size > 0 ? addr + sym.st_size : section_end(elf, section, &sym, addr);
    *ret = (struct table_symbol){addr, end, name, rank_of(&sym), GELF_ST_TYPE(sym.st_info) == STT_OBJECT};
    return end > addr;
}

void symbols_table_build(struct symbols_table *table, Dwfl_Module *mod)
{
    int count = dwfl_module_getsymtab(mod);
    table->built = true;
    if (count <= 0)
        return;
    table->symbols = calloc((size_t)count, sizeof *table->symbols);
    if (table->symbols == NULL)
        return;
    for (int i = 0; i < count; i++)
        if (read_symbol(mod, i, &table->symbols[table->count]))
            table->count++;
    qsort(table->symbols, table->count, sizeof *table->symbols, compare);
}

void symbols_table_free(struct symbols_table *table)
{
    free(table->symbols);
    table->symbols = NULL;
}

const struct table_symbol *symbols_table_find(const struct symbols_table *table, Dwarf_Addr addr, bool data)
{
    size_t low = 0, high = table->count; /* the last symbol that starts at or below addr is at low - 1 */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table->symbols[middle].start <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    const struct table_symbol *best = NULL;
    for (size_t i = 0; i < LOOK_BACK && i < low; i++) {
        const struct table_symbol *s = &table->symbols[low - 1 - i];
        if (best != NULL && s->start < best->start && best->rank < 4)
            break; /* only an unsized one may still give way to a sized one around it */
        if (s->data != data || addr >= s->end)
            continue;
        if (best == NULL || s->start == best->start || s->rank < 4)
            best = s;
    }
    return best;
}
