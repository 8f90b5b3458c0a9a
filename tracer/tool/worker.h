/* SPDX-License-Identifier: MIT */
/*
 * worker.h - the check of one frozen process, in a process of its own.
 *
 *    session --fork--> worker: source_open_best --> check_process --> recording_write(result) --> exit 16 +
 * verdict |                                                                                            |
 *       '<---- SIGCHLD: worker_ended ------------- "not checked: the checker crashed" when it died <--'
 *
 * The target's memory is hostile input and its debug files are no better: whatever goes wrong in there costs
 * one verdict, never the run; several processes are checked at a time; and a person's ^C ends a check that
 * takes too long (worker_cancel). The frozen target goes on when the session sends DONE, in every case.
 */
#ifndef HEAPTALLY_WORKER_H
#define HEAPTALLY_WORKER_H

#include <stdbool.h>

#include "tracer/tool/traced.h"

/* t is WAITING and becomes CHECKING. On failure it stays RUNNING with a why_not, and DONE is sent. */
bool worker_start(struct traced *t, const char *result, bool progress);
/* The worker was reaped: result, verdict and why_not are set, the target goes on, t is RUNNING. */
void worker_ended(struct traced *t, int wait_status);
/* Kill it; worker_ended follows when it is reaped. */
void worker_cancel(struct traced *t, const char *why);

#endif
