/* SPDX-License-Identifier: MIT */
/*
 * outcome.h - from settled images to files, lines and the exit code.
 *
 *    result of a check, or why there is none --> recording --suppressions--> kept? --> its name --> file
 *                                                                 '--> counts --> summary line, struct
 * outcome
 *
 * The main program's recording is always written, also when all it can say is "not checked". A child's is
 * written by --children.
 */
#ifndef HEAPTALLY_OUTCOME_H
#define HEAPTALLY_OUTCOME_H

#include "tracer/gate/suppress.h"
#include "tracer/tool/exit_codes.h"
#include "tracer/tool/name.h"
#include "tracer/tool/options.h"
#include "tracer/tool/traced.h"

struct gathering {
    const struct tool_options *options;
    struct suppressions *suppressions;
    struct names names;
    struct outcome outcome;
    unsigned children_clean, children_leaky, children_not_checked, children_told;
};

/* --suppressions, all files. false: told. */
bool outcome_load_suppressions(const struct tool_options *options, struct suppressions **ret);

/* The check's recording, or one that says "not checked: why"; NULL when memory is out. */
struct recording *outcome_recording(const struct traced *t, const char *why);
/* Unsuppressed findings in rec. */
bool outcome_is_leaky(struct gathering *g, struct recording *rec);
/* false: told, and the outcome knows. */
bool outcome_write(struct gathering *g, const struct recording *rec, const char *path);

/* A child's image, or an image of the main program that an exec replaced: a session's `settled`. Takes over
 * t. */
void outcome_child(void *gathering, struct traced *t);
/* "12 more (children, ...): 10 clean, 1 with leaks, 1 not checked", and those still running. */
void outcome_tell_children(const struct gathering *g, unsigned still_running);

void gathering_free(struct gathering *g);

#endif
