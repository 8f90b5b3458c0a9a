/* SPDX-License-Identifier: MIT */
/*
 * symbols_module.h - one file's debug information, opened once; private to tracer/report/symbols*.c.
 *
 *    (path, build id) --> struct symbols_module --> Dwfl with exactly one module, laid out at its file
 * addresses
 *
 * The recorded load bias is taken off every address before it comes here. So one cache entry serves every
 * place the file was ever mapped at, and two files that shared a range of addresses in turn never meet in one
 * Dwfl.
 */
#ifndef HEAPTALLY_SYMBOLS_MODULE_H
#define HEAPTALLY_SYMBOLS_MODULE_H

#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/recording.h"
#include "tracer/report/symbols_table.h"

/* Addresses of one compilation unit, for modules that lack the table of them (clang writes none). */
struct cu_range {
    Dwarf_Addr low, high;
    Dwarf_Off unit; /* of the unit's entry in .debug_info */
};

struct symbols_module {
    struct symbols_module *next;
    char *path;
    uint8_t build_id[32];
    uint32_t build_id_length;
    Dwfl *dwfl;
    Dwfl_Module *mod; /* NULL: nothing to be had, and that is remembered too */
    struct cu_range *ranges;
    size_t range_count, range_capacity;
    bool ranges_built;
    struct symbols_table table;
};

/* NULL only when memory is out. */
struct symbols_module *symbols_module_open(const struct rec_module *recorded);
void symbols_module_free(struct symbols_module *m);
bool symbols_module_matches(const struct symbols_module *m, const struct rec_module *recorded);

/* The unit that holds a file address; *ret_bias is what DWARF addresses differ by. NULL: no debug information
 * there. */
Dwarf_Die *symbols_module_unit(struct symbols_module *m, Dwarf_Addr addr, Dwarf_Addr *ret_bias,
                               Dwarf_Die *storage);

#endif
