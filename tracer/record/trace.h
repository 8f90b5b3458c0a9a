/* SPDX-License-Identifier: MIT */
/*
 * trace.h - where the recorder's tables lie: in metadata memory, or in a trace file (tracer/format/trace.h).
 *
 *   trace_start(path)   a sparse file, mapped as a whole, shared; the descriptor is closed at once
 *   trace_take(size)    the next bytes of it. Their disk space is claimed first (MADV_POPULATE_WRITE): a full disk means
 *                       that they are elsewhere, and that the file says so, not that the process dies of SIGBUS
 *   fork                the child's tables become its own memory at once, and a file of its own when it first allocates:
 *                       most children only exec
 *
 * Threads: trace_take() by any thread, without a lock. The rest: see there.
 */
#ifndef HEAPTALLY_RECORD_TRACE_H
#define HEAPTALLY_RECORD_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#include "tracer/format/tables.h"
#include "tracer/record/record.h"

/* Once, with one thread. path may have %p for the pid; a file that exists is not touched: .1, .2 ... are tried. "": no
 * file. false, and one clause: there is no file; the tables go where they went without. */
bool trace_start(const char *path, const char **ret_why);
/* The root of the tables, in the file if there is one. After trace_start(). */
struct record_root *trace_root(void);
/* Zeroed, 64-byte aligned. NULL when memory is out. */
void *trace_take(size_t size);
/* Who reads the file finds what is at p; or there is no file at all. */
bool trace_has(const void *p);
/* What trace_take() gave is not needed any more: its whole pages are empty memory. */
void trace_give(void *p, size_t size);

/* The process ends, or becomes another by exec: the file says so, or goes. No effect without one. */
void trace_end(enum record_ending ending, bool keep);

/* In the child of a fork, by its only thread. false: the tables are still the parent's, and may not be written to. */
bool trace_fork_child(void);
/* true: the child has no file yet although it should. By its only thread, before it records its first block; what it has
 * counted so far was its parent's, and must be forgotten just before. */
bool trace_is_due(void);
void trace_begin_own(void);

#endif
