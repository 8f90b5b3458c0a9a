/* SPDX-License-Identifier: MIT */
/*
 * target.h - can this program be recorded? Asked before it is run.
 *
 *    name --PATH, as execvp--> file --"#!" (up to 4 times)--> ELF --> loader is glibc's, 64-bit, no more
 * privileges than ours |                        |                     | 127 not found            126 cannot
 * be run     126 static, musl, 32-bit, set-uid, capabilities
 *
 * What the loader would silently leave unpreloaded is refused here, in one line that says what, where and
 * what to do, and never started: a run that cannot be checked must not look like one that was. What cannot be
 * told from the file (a program that execs a static one) shows later, when nobody reports in.
 */
#ifndef HEAPTALLY_TARGET_H
#define HEAPTALLY_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "tracer/tool/exit_codes.h"

#define TARGET_SCRIPTS_MAX 4 /* interpreters that are scripts themselves, as Linux allows */

struct target {
    char path[4096];    /* what to execve: the file PATH gave */
    bool through_shell; /* it has no "#!" and is no ELF: /bin/sh runs it, as execvp would */
};

/* EXIT_OK, or the code to end with and one line in error[] without a newline. */
enum tool_exit target_check(const char *name, struct target *ret, char *error, size_t error_size);

#endif
