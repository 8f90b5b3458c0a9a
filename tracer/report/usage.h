/* SPDX-License-Identifier: MIT */
/*
 * usage.h - what a program's stacks allocated, out of a trace: the top ones, or as a tree.
 *
 *   USAGE_STACKS    stack after stack, each from where it allocates outward
 *   USAGE_CALLERS   from main inward: what was allocated below each call
 *   USAGE_CALLEES   from what allocates outward: who called it, and for how much
 *
 * "Not freed" is all that is said of live blocks: whether anything reaches them was not looked at.
 */
#ifndef HEAPTALLY_USAGE_H
#define HEAPTALLY_USAGE_H

#include "tracer/report/report.h"

enum usage_by { USAGE_LIVE, USAGE_PEAK, USAGE_ALLOCS, USAGE_TEMPORARY, USAGE_BYTES };
enum usage_tree { USAGE_STACKS, USAGE_CALLERS, USAGE_CALLEES };

/* What is ordered by. */
uint64_t usage_value(const struct rec_usage *usage, enum usage_by by);

/* rec->usages in descending order of that; those with a site of REC_NONE are only counted. false when writing failed (errno)
 * or memory is out. */
bool report_usage(const struct recording *rec, const struct report_options *options, enum usage_by by,
                  enum usage_tree tree, FILE *out);

#endif
