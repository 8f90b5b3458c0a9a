/* SPDX-License-Identifier: MIT */
/*
 * suppress.h - LeakSanitizer's suppression files, read as they are, and the verdict after them.
 *
 *      # a comment                     finding (lost or cycle group)
 *      leak:libfontconfig                 '-- stack(s) -- frame -- module path        each frame, innermost
 * first: leak:^init_*cache$                              |        -- function, file     module, then its
 * lines with leak:src/legacy/                                '-- inlined -- function, file  their functions
 * and files
 *
 *   leak:pattern     one a line; '#' starts a comment line; blank lines are skipped; blanks around a line do
 * not count pattern          matches anywhere in a function name, a source file or a module path of any frame
 * of the allocating stack; '*' matches any run; '^' and '$' anchor (pattern.h says it exactly)
 *
 * A frame outside every module has the module name "<unknown module>", as LeakSanitizer calls it. What a
 * suppressed block or cycle alone holds goes with it.
 *
 * Lines of other sanitizers ("race:x") are told as warnings with file and line and otherwise skipped, as
 * LeakSanitizer users keep shared files; skipping one can only make the gate stricter. An unreadable file is
 * an error: a gate whose rules are missing does not judge.
 *
 * Invariant: over a recording, the sum of what the rules matched is the sum of blocks + indirect_blocks of
 * the groups with suppressed_by != REC_NONE: a finding is credited to one rule, the first that matches its
 * innermost matching frame.
 *
 * Threads: none.
 */
#ifndef HEAPTALLY_SUPPRESS_H
#define HEAPTALLY_SUPPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/recording.h"

struct suppressions; /* opaque */

/* Append the rules of a file; *list must be NULL before the first. On failure false, one clear line in
 * error[], and *list as it was. `warn` (may be NULL) gets a line per skipped rule. */
bool suppressions_load(struct suppressions **list, const char *path, void (*warn)(const char *line),
                       char *error, size_t error_size);
/* The same from memory, for tests and fuzzers; `name` stands in messages for the file's. */
bool suppressions_parse(struct suppressions **list, const char *text, size_t length, const char *name,
                        void (*warn)(const char *line), char *error, size_t error_size);
void suppressions_free(struct suppressions *list);

/* Mark the lost and cycle groups that a rule matches (group->suppressed_by = rule index, REC_NONE for all
 * other groups; a cycle is suppressed when the stack of any of its members shown matches). Returns the number
 * of groups that are left unsuppressed, i.e. that fail a gate. `list` may be NULL: no rules. Each call starts
 * the rules' counts anew. */
uint32_t suppressions_apply(struct suppressions *list, struct recording *rec);

/* For the report's footer: rules in order with what they matched in the last apply, indirect blocks included.
 * NULL past the end. */
const char *suppression_text(const struct suppressions *list, uint32_t rule, uint64_t *ret_blocks,
                             uint64_t *ret_bytes);

#endif
