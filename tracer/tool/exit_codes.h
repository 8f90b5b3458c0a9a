/* SPDX-License-Identifier: MIT */
/*
 * exit_codes.h - every code the command can end with, and the one place that chooses it.
 *
 *    the program's own code (or 128 + signal) ----------------------------------> passes through, always
 *    the program ended 0 and  the tool failed to write its file ----------------> EXIT_TOOL_FAILED
 *                             it could not be checked --------------------------> EXIT_NOT_CHECKED
 *                             unsuppressed findings and --error-exitcode=N -----> N
 *                             no findings, but a child could not be checked, N -> EXIT_NOT_CHECKED
 *                             otherwise ----------------------------------------> 0
 *
 * A finding is not a failure of the tool: without --error-exitcode it changes no code. "Not checked" is
 * neither 0 nor N: a gate never passes on, and never fails by, what was not looked at. For that N may not be
 * one of ours.
 */
#ifndef HEAPTALLY_EXIT_CODES_H
#define HEAPTALLY_EXIT_CODES_H

#include <stdbool.h>

enum tool_exit {
    EXIT_OK = 0,
    EXIT_NOT_CHECKED =
        120, /* the program ended with 0, but it, or with a gate one of its children, went unchecked */
    EXIT_TOOL_FAILED = 125, /* wrong usage, unreadable file, nothing written: the tool itself failed */
    EXIT_CANNOT_RUN =
        126, /* the program was found but cannot be run, or not be recorded; it was not started */
    EXIT_NOT_FOUND = 127,   /* there is no such program */
    EXIT_SIGNAL_BASE = 128, /* + N: the program was ended by signal N */
};

/* How a run, a snapshot or a file came out. */
struct outcome {
    bool by_signal;         /* the program was killed by signal `status` */
    int status;             /* its exit code otherwise; 0 for files and snapshots */
    bool tool_failed;       /* a file could not be written */
    bool checked;           /* the program itself was checked */
    bool leaks;             /* unsuppressed lost or cycle blocks, in it or in a child */
    bool child_not_checked; /* a child that had reported in could not be checked */
    int error_exitcode;     /* --error-exitcode, 0: none */
};
int exit_code_of(const struct outcome *outcome);

/* May --error-exitcode be this? */
bool exit_code_is_usable(long code);

/* The table that help and the manual show: NULL past the end. */
struct exit_text {
    const char *code, *text;
};
const struct exit_text *exit_text_at(unsigned row);

#endif
