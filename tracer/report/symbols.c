/* SPDX-License-Identifier: MIT */
#include "tracer/report/symbols.h"

#include <dwarf.h>
#include <libiberty/demangle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/report/symbols_calls.h"
#include "tracer/report/symbols_module.h"

struct symbols {
    struct symbols_module *modules; /* the last used first: stacks stay in few files */
};

struct symbols *symbols_new(void)
{
    return calloc(1, sizeof(struct symbols));
}

void symbols_free(struct symbols *s)
{
    if (s == NULL)
        return;
    for (struct symbols_module *m = s->modules; m != NULL;) {
        struct symbols_module *next = m->next;
        symbols_module_free(m);
        m = next;
    }
    free(s);
}

static struct symbols_module *find_module(struct symbols *s, const struct rec_module *recorded)
{
    struct symbols_module **at = &s->modules;
    while (*at != NULL && !symbols_module_matches(*at, recorded))
        at = &(*at)->next;
    struct symbols_module *m = *at;
    if (m != NULL)
        *at = m->next;
    else
        m = symbols_module_open(recorded);
    if (m == NULL)
        return NULL;
    m->next = s->modules;
    s->modules = m;
    return m;
}

/* --- names ---------------------------------------------------------------------------------------------- */

/* With parameters: overloads differ in nothing else. *ret_owned is to be freed, and may be NULL. */
static const char *demangled(const char *name, char **ret_owned)
{
    *ret_owned = NULL;
    if (name == NULL)
        return "";
    if (name[0] == '_' && (name[1] == 'Z' || name[1] == 'R' || name[1] == '_'))
        *ret_owned = cplus_demangle(name, DMGL_PARAMS | DMGL_ANSI | DMGL_AUTO);
    return *ret_owned == NULL ? name : *ret_owned;
}

static const char *string_attribute(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attribute;
    return dwarf_attr_integrate(die, name, &attribute) == NULL ? NULL : dwarf_formstring(&attribute);
}

static const char *function_name(Dwarf_Die *die)
{
    const char *name = string_attribute(die, DW_AT_linkage_name);
    if (name == NULL)
        name = string_attribute(die, DW_AT_MIPS_linkage_name);
    return name == NULL ? string_attribute(die, DW_AT_name) : name;
}

static const struct table_symbol *symbol_at(struct symbols_module *m, Dwarf_Addr addr, bool data)
{
    if (!m->table.built)
        symbols_table_build(&m->table, m->mod);
    return symbols_table_find(&m->table, addr, data);
}

static const char *symbol_name(struct symbols_module *m, Dwarf_Addr addr)
{
    const struct table_symbol *symbol = symbol_at(m, addr, false);
    return symbol == NULL ? NULL : symbol->name;
}

/* --- places --------------------------------------------------------------------------------------------- */

struct place {
    const char *file; /* "" when not known */
    int line, column;
};

static struct place place_of_addr(Dwarf_Die *unit, Dwarf_Addr addr)
{
    struct place p = {"", 0, 0};
    Dwarf_Line *line = dwarf_getsrc_die(unit, addr);
    const char *file = line == NULL ? NULL : dwarf_linesrc(line, NULL, NULL);
    if (file == NULL)
        return p;
    p.file = file;
    if (dwarf_lineno(line, &p.line) != 0)
        p.line = 0;
    if (dwarf_linecol(line, &p.column) != 0)
        p.column = 0;
    return p;
}

static Dwarf_Word number_attribute(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value = 0;
    if (dwarf_attr(die, name, &attribute) == NULL || dwarf_formudata(&attribute, &value) != 0)
        return 0;
    return value <= INT32_MAX ? value : 0;
}

/* Where an inlined call stands in its caller. */
static struct place place_of_call(Dwarf_Die *unit, Dwarf_Die *inlined)
{
    struct place p = {"", (int)number_attribute(inlined, DW_AT_call_line),
                      (int)number_attribute(inlined, DW_AT_call_column)};
    Dwarf_Files *files;
    size_t count;
    Dwarf_Word file = number_attribute(inlined, DW_AT_call_file);
    if (dwarf_getsrcfiles(unit, &files, &count) == 0 && file < count) {
        const char *name = dwarf_filesrc(files, file, NULL, NULL);
        p.file = name == NULL ? "" : name;
    }
    return p;
}

/* --- lines ---------------------------------------------------------------------------------------------- */

static bool add_line(struct recording *rec, const char *mangled, const struct place *p, bool inlined,
                     struct rec_frame *frame)
{
    char *owned;
    char *function = recording_strdup(demangled(mangled, &owned));
    char *file = recording_strdup(p->file);
    struct rec_line line = {.function = function,
                            .file = file,
                            .line = p->line > 0 ? (uint32_t)p->line : 0,
                            .column = p->column > 0 ? (uint32_t)p->column : 0,
                            .inlined = inlined};
    uint32_t index = function == NULL || file == NULL ? REC_NONE : recording_add_line(rec, &line);
    free(owned);
    free(function);
    free(file);
    if (index == REC_NONE)
        return false;
    if (frame->line_count++ == 0)
        frame->first_line = index;
    return true;
}

/* Innermost first: each call's place is where the next inner one was called from. The symbol table is asked only
 * when the debug information has no name. */
static bool add_calls(struct symbols_module *m, struct recording *rec, Dwarf_Die *unit, struct calls *calls,
                      Dwarf_Addr addr, Dwarf_Addr bias, struct rec_frame *frame)
{
    struct place place = place_of_addr(unit, addr);
    for (uint32_t i = calls->count; i-- > 0;) {
        bool inlined = i > 0;
        const char *name = function_name(&calls->die[i]);
        if (name == NULL && !inlined)
            name = symbol_name(m, addr + bias);
        if (!add_line(rec, name, &place, inlined, frame))
            return false;
        if (inlined)
            place = place_of_call(unit, &calls->die[i]);
    }
    return true;
}

static bool resolve_in(struct symbols_module *m, struct recording *rec, Dwarf_Addr addr,
                       struct rec_frame *frame)
{
    Dwarf_Addr bias = 0;
    Dwarf_Die storage;
    Dwarf_Die *unit = symbols_module_unit(m, addr, &bias, &storage);
    struct place place = {"", 0, 0};
    if (unit != NULL) {
        struct calls calls;
        calls_find(unit, addr - bias, &calls);
        if (calls.count > 0)
            return add_calls(m, rec, unit, &calls, addr - bias, bias, frame);
        place = place_of_addr(unit, addr - bias);
    }
    const char *symbol = symbol_name(m, addr);
    if (symbol == NULL && place.file[0] == '\0')
        return true;
    return add_line(rec, symbol, &place, false, frame);
}

bool symbols_resolve(struct symbols *s, struct recording *rec, const struct rec_module *module, uint64_t ip,
                     bool exact, struct rec_frame *frame)
{
    frame->first_line = 0;
    frame->line_count = 0;
    if (module == NULL)
        return true;
    struct symbols_module *m = find_module(s, module);
    if (m == NULL)
        return false;
    if (m->mod == NULL)
        return true;
    /* A return address may already belong to the next line, or function: the call is before it. */
    return resolve_in(m, rec, ip - module->bias - (exact ? 0 : 1), frame);
}

bool symbols_data_name(struct symbols *s, const struct rec_module *module, uint64_t addr, char *buf,
                       uint32_t size, uint64_t *ret_offset)
{
    struct symbols_module *m = module == NULL ? NULL : find_module(s, module);
    if (m == NULL || m->mod == NULL || size == 0)
        return false;
    const struct table_symbol *symbol = symbol_at(m, addr - module->bias, true);
    if (symbol == NULL)
        return false;
    char *owned;
    snprintf(buf, size, "%s", demangled(symbol->name, &owned));
    free(owned);
    if (ret_offset != NULL)
        *ret_offset = addr - module->bias - symbol->start;
    return true;
}
