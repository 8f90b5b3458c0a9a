/* SPDX-License-Identifier: MIT */
/*
 * suppress.h - LeakSanitizer's suppression files, read as they are, and the verdict after them.
 *
 *   leak:pattern     one a line; '#' starts a comment line; blank lines are skipped
 *   pattern          matches anywhere in a function name, a source file or a module path of any frame of the allocating
 *                    stack; '*' matches any run; '^' and '$' anchor
 *
 * Lines of other sanitizers ("race:x") are told as warnings with file and line and otherwise skipped, as LeakSanitizer
 * users keep shared files. An unreadable file is an error: a gate whose rules are missing does not judge.
 */
#ifndef HEAPTALLY_SUPPRESS_H
#define HEAPTALLY_SUPPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/recording.h"

struct suppressions; /* opaque */

/* Append the rules of a file. On failure false and one clear line in error[]. `warn` (may be NULL) gets a line per skipped rule. */
bool suppressions_load(struct suppressions **list, const char *path, void (*warn)(const char *line), char *error, size_t error_size);
void suppressions_free(struct suppressions *list);

/* Mark the lost and cycle groups that a rule matches (group->suppressed_by = rule index; a cycle is suppressed when the stack of any
 * of its members shown matches). Returns the number of groups that are left unsuppressed, i.e. that fail a gate. */
uint32_t suppressions_apply(struct suppressions *list, struct recording *rec);

/* For the report's footer: rules in order with what they matched. NULL past the end. */
const char *suppression_text(const struct suppressions *list, uint32_t rule, uint64_t *ret_blocks, uint64_t *ret_bytes);

#endif
