/* SPDX-License-Identifier: MIT */
/*
 * report.h - a recording as a person or a program reads it.
 *
 *    struct recording --> report_text  (terminal or file; stacks, cycles drawn edge by edge, the next command
 * to type)
 *                     '-> report_json  (schema version in the document; described in tracer/report/SCHEMA.md)
 *
 * Nothing here looks at the target or at debug files: names are in the recording (symbols.h put them there).
 */
#ifndef HEAPTALLY_REPORT_H
#define HEAPTALLY_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tracer/format/recording.h"

struct report_options {
    bool colour;         /* SGR sequences; the caller has asked isatty and NO_COLOR */
    uint32_t max_groups; /* findings printed in full; 0: all */
    uint32_t max_frames; /* frames a stack; 0: all */
    bool show_possible;  /* possible blocks in full, not only in the summary */
    bool show_suppressed;
    bool addresses;   /* block and code addresses too (off: output is the same from run to run) */
    const char *path; /* the file it came from, for "next:" lines; may be NULL */
};

/* false when writing failed (errno). */
bool report_text(const struct recording *rec, const struct report_options *options, FILE *out);
bool report_json(const struct recording *rec, const struct report_options *options, FILE *out);

/* The one-line verdict, e.g. "3 leaks: 2 lost blocks (96 bytes), 1 cycle of 3 blocks (144 bytes)" or
 * "no leaks: 1,234 blocks, all reachable" or "not checked: ...". Written into buf, always terminated. */
void report_verdict_line(const struct recording *rec, char *buf, size_t size);

#endif
