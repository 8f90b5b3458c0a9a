/* SPDX-License-Identifier: MIT */
/*
 * stack.h - one allocation stack as text; private to tracer/report.
 *
 *        make_node                 src/ring.c:17          inlined
 *        make_ring                 src/ring.c:30          [leaky]
 *        main                      src/main.c:9           [leaky]
 *
 * What is the same in every stack says nothing and is left out: the allocating function itself (the line
 * above the stack names the kind), C++ allocator plumbing, and what the C library runs before main or a
 * thread's function. A stack that would be empty then is printed whole.
 */
#ifndef HEAPTALLY_STACK_H
#define HEAPTALLY_STACK_H

#include <stdint.h>
#include <stdio.h>

#include "tracer/report/report.h"

/* Prints the stack of `site` (REC_NONE: says that it is not known), every line behind `indent` spaces. */
void stack_print(const struct recording *rec, const struct report_options *options, uint32_t site, int indent,
                 FILE *out);

/* Which of a stack's frames a person wants to see, as indices into rec->frame_list. */
void stack_shown(const struct recording *rec, uint32_t site, uint32_t *ret_first, uint32_t *ret_end);
/* One frame's function, or what is known instead. */
void stack_print_name(const struct recording *rec, uint32_t frame, FILE *out);

const char *stack_kind_name(uint32_t kind); /* "malloc", "operator new[]", ... */

#endif
