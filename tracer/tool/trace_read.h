/* SPDX-License-Identifier: MIT */
/*
 * trace_read.h - a trace file in, a recording of what its stacks allocated out. Its verdict is "not checked", always.
 */
#ifndef HEAPTALLY_TRACE_READ_H
#define HEAPTALLY_TRACE_READ_H

#include <stdbool.h>
#include <stddef.h>

#include "tracer/format/recording.h"
#include "tracer/report/usage.h"

bool trace_is_one(const char *path); /* as far as its first bytes say; or it is packed */

/* The name of the trace that is kept with this recording; malloc'ed, NULL when memory is out. */
char *trace_beside(const char *recording);

/* Where it lies in the memory of who writes it; 0: it is none, or packed, which no process writes. */
uint64_t trace_base(const char *path);

struct trace_reader; /* opaque */

/* NULL: memory is out. */
struct trace_reader *trace_reader_new(const char *path);
void trace_reader_free(struct trace_reader *reader);
/* As it is now. The first `named` usages in order of `by` get names for their stacks, 0: all. Stacks that had names in an
 * earlier reading cost nothing. The recording is the reader's, until it reads again. NULL, and one line: it cannot be read. */
const struct recording *trace_reader_read(struct trace_reader *reader, enum usage_by by, uint32_t named,
                                          char *error, size_t error_size);

/* What was used of it, packed, to another file. */
bool trace_copy(const char *from, const char *to);

#endif
