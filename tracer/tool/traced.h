/* SPDX-License-Identifier: MIT */
/*
 * traced.h - one image of one process: what is known of it from its HELLO to the end of its connection.
 *
 *    accept --> SILENT --HELLO--> RUNNING --CHECK--> WAITING --> CHECKING --DONE--.
 *                 |                  | ^                                          |
 *                 |                  | '------------------------------------------'   (a failed exec goes on,
 * and asks again)
 *                 '-------EOF--------+----> GONE
 *                                    '--EOF, no check yet or an exec's--> LOST --it ends--> GONE
 *                                                                                '--another HELLO of it-->
 * dropped
 *
 * An exec closes the connection and the next image opens its own: so "the last check before EOF stands" is
 * the whole rule for every way out, exec included. In WAITING and CHECKING the process is frozen, and nobody
 * but the worker reads its socket. LOST: programs close descriptors that they do not know; the library
 * connects anew when it has something to say, and so does the image behind an exec. One that never does was not
 * checked (traced_unseen), whatever the check before the exec has found.
 *
 * Invariants: worker != 0 exactly in CHECKING; fd >= 0 in all states but GONE and LOST; pidfd >= 0 exactly in
 * LOST, until the process has ended; result is the path of a recording, or "" and why_not says why (GONE only). One thread; owned by the
 * session.
 */
#ifndef HEAPTALLY_TRACED_H
#define HEAPTALLY_TRACED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tracer/format/recording.h"
#include "tracer/tool/peer.h"

enum traced_state {
    TRACED_SILENT,
    TRACED_RUNNING,
    TRACED_WAITING,
    TRACED_CHECKING,
    TRACED_LOST,
    TRACED_GONE
};

struct traced {
    enum traced_state state;
    int pid;        /* in our namespace, from SO_PEERCRED; 0: not visible to us */
    bool succeeded; /* its pid has said HELLO on another connection: the image behind its exec is seen */
    bool is_main;   /* the pid is that of the program that we started */
    int shown_pid;  /* what a person calls it: a snapshot's copy has another pid */
    int fd;
    int pidfd;
    struct peer *peer;

    struct wire_hello hello;   /* from RUNNING on */
    struct wire_target target; /* of the last CHECK */
    uint64_t started;          /* calendar ms */
    char *program, *command;   /* as far as known; never NULL from RUNNING on */
    char *became;              /* what it runs since its exec, when that could be seen */
    char **notes;              /* lines that the target sent */
    unsigned notes_count;

    pid_t worker;
    char result[128];  /* of the last check */
    uint32_t verdict;  /* enum rec_verdict of result */
    char why_not[256]; /* what went wrong with the last check, one clause */
};

/* Takes over fd. NULL when memory is out (fd is then closed). */
struct traced *traced_new(int fd, int pid, bool is_main);
void traced_free(struct traced *t);

/* HELLO has come: `program` and `command` (may be NULL) are known better by the caller, otherwise /proc is
 * asked. */
bool traced_hello(struct traced *t, const struct wire_hello *hello, const char *program, const char *command);
/* A line from the target; the first few are kept. */
void traced_note(struct traced *t, const char *text);
/* GONE: close the connection; a check that is under way has to be ended before. */
void traced_close(struct traced *t);
/* EOF: GONE, or LOST. */
void traced_disconnected(struct traced *t);
/* Whether a LOST one has ended; its pidfd is closed then. */
bool traced_has_ended(struct traced *t);

/* Its last check was that of an exec, and nobody has connected since: */
bool traced_awaits_successor(const struct traced *t);
/* the program behind that exec, GONE and unchecked; NULL when memory is out. */
struct traced *traced_unseen(const struct traced *before);

/* A recording with nothing but meta and notes, verdict "not checked" and no reason yet; NULL when memory is
 * out. */
struct recording *traced_recording(const struct traced *t);

/* The state that decides a verdict: was it checked, and by a check that stands? */
bool traced_was_checked(const struct traced *t);

#endif
