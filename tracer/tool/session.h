/* SPDX-License-Identifier: MIT */
/*
 * session.h - the loop round a run: who connects, who is checked, when it is over.
 *
 *            .-- signal_fd: SIGCHLD -> main program ended, worker ended;  SIGINT, SIGTERM ... -> forwarded, a
 * long check cancelled poll ---+-- listener:  a process (or its next image, after an exec) connects
 *            '-- each RUNNING process: HELLO, NOTE, CHECK, EOF
 *
 * Over when the main program has ended, no check is under way, and every connection is closed or a short
 * grace is past: daemons that the program leaves behind run on, unharmed and unchecked, and are counted. An
 * image is handed to `settled` as soon as it is GONE, but the main program's last one, which the caller finds
 * in main_last.
 *
 * A signal that the terminal sends goes to the whole foreground group, so the program has it already; one
 * that a person sends to us alone is passed on (they differ in si_code). Either one, while the program stands
 * frozen, means "do not wait for that".
 */
#ifndef HEAPTALLY_SESSION_H
#define HEAPTALLY_SESSION_H

#include <stdbool.h>
#include <sys/types.h>

#include "tracer/tool/listener.h"
#include "tracer/tool/traced.h"

struct session {
    /* set by the caller */
    struct listener *listener;
    int signal_fd;
    pid_t main_pid;
    const char *main_program, *main_command; /* of its first image */
    bool children;                           /* false: other processes are let go at once */
    bool progress;
    void (*settled)(void *ctx, struct traced *t); /* takes over t */
    void *ctx;

    /* the result */
    bool main_ended;
    int main_status; /* as waitpid gives it */
    unsigned still_running;
    struct traced *main_last; /* the caller's to free; NULL: it never reported in */

    /* the loop's own */
    struct traced **traced;
    unsigned count, capacity, workers, worker_limit, serial;
    uint64_t deadline; /* monotonic ms, once the main program has ended */
    bool cancelled, main_seen;
};

/* false only when memory or descriptors ran out before the loop began. */
bool session_run(struct session *s);

#endif
