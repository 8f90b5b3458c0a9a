/* SPDX-License-Identifier: MIT */
/*
 * cfi.h - the rule of an address, read from its object's .eh_frame.
 *
 *   .eh_frame_hdr: | function, description | ... |     sorted: the last function that begins at or before pc
 *                               |
 *   .eh_frame:   CIE (how to begin) <-- FDE (range, instructions): run up to pc
 *
 * Only what is a plain rule is told, and only of tables as every linker writes them; all else is libunwind's (unwind_rules.c),
 * which takes 18,000 instructions and eight system calls for a rule that takes some hundred here. The format is that of the
 * DWARF standard, 6.4, with the changes that the Linux Standard Base describes ("Exception Frames").
 *
 * Threads: any; it reads code that is loaded, as a frame on the stack is in it. Takes some hundred bytes of stack.
 */
#ifndef HEAPTALLY_CFI_H
#define HEAPTALLY_CFI_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/record/code.h"
#include "tracer/record/rules.h"

/* false: ask libunwind. */
bool cfi_rule(const struct code_object *object, uint64_t pc, struct rule *ret);

#endif
