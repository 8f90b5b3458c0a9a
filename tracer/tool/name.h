/* SPDX-License-Identifier: MIT */
/*
 * name.h - where a recording goes: "heaptally.%e.%p.htz", or what -o says.
 *
 *    %e  the program's base name      %p  its process id      %%  a percent sign
 *
 * A run may write several files (children, images before an exec). One without %p in its name gets ".PID"
 * behind it for all but the main program; a name that this run has used already gets ".2", ".3", ... behind
 * it.
 */
#ifndef HEAPTALLY_NAME_H
#define HEAPTALLY_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define NAME_DEFAULT  "heaptally.%e.%p.htz"
#define NAME_SNAPSHOT "heaptally.%e.%p.snapshot.htz"

/* One line in error[] when the pattern has another %-letter, or the result is no file that can be replaced (a
 * directory, a device: the file is written beside and renamed over, which would turn /dev/null into a
 * recording). */
bool name_pattern_is_good(const char *pattern, char *error, size_t error_size);

/* malloc'ed; NULL when memory is out. `program` may be a path: its base name is taken, '/' and control
 * characters never. */
char *name_expand(const char *pattern, const char *program, int pid, bool is_child);

/* Takes over `name`; returns it, or a numbered one when there is a file of that name. NULL when memory is out. */
char *name_unused(char *name);

/* The names a run has given out. */
struct names {
    char **used;
    unsigned count, capacity;
};
/* Takes over `name`, returns it or a numbered one; owned by the list. NULL when memory is out. */
const char *names_take(struct names *names, char *name);
void names_free(struct names *names);

#endif
