/* SPDX-License-Identifier: MIT */
/*
 * trace_read.h - a trace file in, a recording of what its stacks allocated out. Its verdict is "not checked", always.
 */
#ifndef HEAPTALLY_TRACE_READ_H
#define HEAPTALLY_TRACE_READ_H

#include <stdbool.h>
#include <stddef.h>

#include "tracer/format/recording.h"
#include "tracer/report/symbols.h"
#include "tracer/report/usage.h"

bool trace_is_one(const char *path); /* as far as its first bytes say */

/* Where it lies in the memory of who writes it; 0: it is none. */
uint64_t trace_base(const char *path);

/* The first `named` usages in order of `by` get names for their stacks, 0: all. `symbols` are kept from one reading to the
 * next by who reads often, or NULL. false, and one line: it cannot be read. */
bool trace_read(const char *path, enum usage_by by, uint32_t named, struct symbols *symbols,
                struct recording *rec, char *error, size_t error_size);

/* What was used of it, to another file. */
bool trace_copy(const char *from, const char *to);

#endif
