/* SPDX-License-Identifier: MIT */
/*
 * symbols_calls.h - the chain of inlined calls at one address of a unit; private to tracer/report/symbols*.c.
 *
 *    subprogram main > lexical block > inlined make_ring > inlined make_node   @ addr
 *    calls[0] = main                   calls[1]            calls[2]            outermost first
 */
#ifndef HEAPTALLY_SYMBOLS_CALLS_H
#define HEAPTALLY_SYMBOLS_CALLS_H

#include <elfutils/libdw.h>
#include <stdint.h>

#define CALLS_MAX 64u /* deeper inlining loses its innermost calls: their names, not the outer ones */

struct calls {
    Dwarf_Die die[CALLS_MAX];
    uint32_t count;
};

/* `addr` is a DWARF address of the unit. Finds nothing (count 0) in units without functions there. */
void calls_find(Dwarf_Die *unit, Dwarf_Addr addr, struct calls *ret);

#endif
