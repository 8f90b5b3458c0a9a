/* SPDX-License-Identifier: MIT */
/*
 * symbols_table.h - a file's symbols sorted by address; private to tracer/report/symbols*.c.
 *
 * libdw's own look-up goes through the whole table for each address: 2.6 ms in libLLVM, seconds for a report. This one
 * is built once a file. Of the symbols that cover an address the one that starts last is taken; at the same start a
 * sized one before an unsized one, a global before a weak before a local one.
 */
#ifndef HEAPTALLY_SYMBOLS_TABLE_H
#define HEAPTALLY_SYMBOLS_TABLE_H

#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_symbol {
    Dwarf_Addr start, end; /* an unsized symbol ends with its section */
    const char *name;      /* in the file's string table */
    uint32_t rank;         /* smaller is preferred at the same start */
    bool data;             /* an object; otherwise code */
};

struct symbols_table {
    struct table_symbol *symbols;
    size_t count;
    bool built;
};

void symbols_table_build(struct symbols_table *table, Dwfl_Module *mod); /* incomplete when memory is out */
void symbols_table_free(struct symbols_table *table);
const struct table_symbol *symbols_table_find(const struct symbols_table *table, Dwarf_Addr addr, bool data);

#endif
