/* SPDX-License-Identifier: MIT */
/*
 * show.h - a recording on the screen, as run, report and snapshot show it.
 *
 *    show_result  after a run or snapshot, on stderr: the largest findings, the verdict, the next command to
 * type show_report  a file, on stdout: everything, text or JSON
 */
#ifndef HEAPTALLY_SHOW_H
#define HEAPTALLY_SHOW_H

#include <stdbool.h>

#include "tracer/format/recording.h"
#include "tracer/tool/options.h"

/* path: where the recording was written, or NULL when it was not. */
void show_result(const struct tool_options *options, const struct recording *rec, const char *path);
/* --json=FILE of run and snapshot. false: told. */
bool show_json_file(const struct tool_options *options, const struct recording *rec, const char *path);
/* false: told. */
bool show_report(const struct tool_options *options, const struct recording *rec, const char *path);

/* A trace's, on stdout. */
bool show_usage(const struct tool_options *options, const struct recording *rec);

#endif
