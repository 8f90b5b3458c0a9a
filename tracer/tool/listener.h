/* SPDX-License-Identifier: MIT */
/*
 * listener.h - the sockets that targets connect to.
 *
 *    both:      $TMPDIR/heaptally-XXXXXX/   0700, holds the results of checks until they get their names
 *    run:       "socket" in there
 *    snapshot:  /proc/PID/root/tmp/.heaptally-N   0600, N is the target's pid as the target knows it
 *
 * Nobody but the user (and root) gets at either. All descriptors are close-on-exec; closing takes the files
 * away.
 */
#ifndef HEAPTALLY_LISTENER_H
#define HEAPTALLY_LISTENER_H

#include <stdbool.h>
#include <stddef.h>

struct listener {
    int fd;             /* -1: closed. Non-blocking */
    char directory[96]; /* the private directory */
    char path[108];     /* of the socket: what fits in a sun_path */
    int place; /* its directory, -1: by path. /proc/PID is gone with its process, and the socket must not stay */
};

/* On failure one line in error[] and nothing left behind. */
bool listener_open_private(struct listener *ret, char *error, size_t error_size);
bool listener_open_for_process(int pid, struct listener *ret, char *error, size_t error_size);
/* Stop listening and remove the socket; results stay. May be called again. */
void listener_shut(struct listener *listener);
/* The same, and remove results and directory. May be called again. */
void listener_close(struct listener *listener);
/* The next connection with its process id by SO_PEERCRED (0: in a namespace that we do not see); -1: none
 * waits. */
int listener_accept(const struct listener *listener, int *ret_pid, unsigned *ret_uid);

#endif
