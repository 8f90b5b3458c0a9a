/* SPDX-License-Identifier: MIT */
/*
 * libdw's dwarf_getscopes() goes on, behind the innermost inlined call, with the scopes of that function's
 * definition: the calls around it are lost. So the tree is walked here, from the unit down, into what covers
 * the address.
 */
#include "tracer/report/symbols_calls.h"

#include <dwarf.h>
#include <stdbool.h>

/* Deeper nesting than any compiler writes; bounds the recursion on damaged trees. */
#define DEPTH_MAX 128

/* What has code of its own, and so is entered only when it covers the address. */
static bool has_code(int tag)
{
    switch (tag) {
    case DW_TAG_subprogram:
    case DW_TAG_inlined_subroutine:
    case DW_TAG_lexical_block:
    case DW_TAG_try_block:
    case DW_TAG_catch_block:
    case DW_TAG_with_stmt:
        return true;
    default:
        return false;
    }
}

/* What may contain functions without covering their code. */
static bool is_container(int tag)
{
    switch (tag) {
    case DW_TAG_namespace:
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
    case DW_TAG_module:
        return true;
    default:
        return false;
    }
}

static bool is_call(int tag)
{
    return tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine;
}

static bool descend(Dwarf_Die *parent, Dwarf_Addr addr, int depth, struct calls *calls)
{
    Dwarf_Die child;
    if (depth > DEPTH_MAX || dwarf_child(parent, &child) != 0)
        return false;
    do {
        int tag = dwarf_tag(&child);
        if (is_container(tag)) {
            if (descend(&child, addr, depth + 1, calls))
                return true;
            continue;
        }
        if (!has_code(tag) || dwarf_haspc(&child, addr) <= 0)
            continue;
        if (is_call(tag) && calls->count < CALLS_MAX)
            calls->die[calls->count++] = child;
        descend(&child, addr, depth + 1, calls);
        return true;
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
}

/* With -gsplit-dwarf the unit in the file is a skeleton and the functions are in another file, if that is
 * there. */
static Dwarf_Die *split_unit(Dwarf_Die *unit, Dwarf_Die *storage)
{
    uint8_t type;
    if (dwarf_cu_info(unit->cu, NULL, &type, NULL, storage, NULL, NULL, NULL) == 0 &&
        type == DW_UT_skeleton && storage->addr != NULL)
        return storage;
    return unit;
}

void calls_find(Dwarf_Die *unit, Dwarf_Addr addr, struct calls *ret)
{
    Dwarf_Die split = {0};
    ret->count = 0;
    descend(split_unit(unit, &split), addr, 0, ret);
}
