/* SPDX-License-Identifier: MIT */
/*
 * launch.h - the program as our child, with the library preloaded and everything else as it would be without
 * us.
 *
 *    launch_prepare   blocks our signals (the loop reads them from a descriptor), remembers what to give back
 *    launch_start     fork; the child waits ------------.
 *    (the caller says where the recording goes)         |
 *    launch_go        lets it exec  <-------------------'   EXIT_OK, or why the exec failed
 *
 * What the program gets: its own stdin, stdout, stderr; the signal mask, dispositions and limits that we were
 * started with; none of our descriptors; LD_PRELOAD with the library before what the user had there;
 * HEAPTALLY with our settings before the user's, so that his win, but without a socket of another heaptally
 * round us.
 */
#ifndef HEAPTALLY_LAUNCH_H
#define HEAPTALLY_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "tracer/tool/target.h"

struct launch {
    sigset_t mask;                                           /* as inherited */
    struct sigaction child_action, pipe_action, size_action; /* of SIGCHLD, SIGPIPE, SIGXFSZ, as inherited */
    struct rlimit files;                                     /* RLIMIT_NOFILE as inherited */
    int signal_fd;                                           /* the loop's: SIGCHLD and what a person sends */
    int gate; /* our end of the pair that the child waits at; -1: open */
    pid_t pid;
    const int *standard; /* three descriptors to be the program's 0, 1 and 2; NULL: ours */
};

/* On failure one line in error[]. */
bool launch_find_library(char *ret, size_t size, char *error, size_t error_size);
/* The environment for the program, malloc'ed as one block; NULL when memory is out. */
char **launch_environment(char *const *base, const char *library, const char *settings);

bool launch_prepare(struct launch *launch);
bool launch_start(struct launch *launch, const struct target *target, char **argv, char **environment);
enum tool_exit launch_go(struct launch *launch, const char *path);

#endif
