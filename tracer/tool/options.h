/* SPDX-License-Identifier: MIT */
/*
 * options.h - what the command line asks for: one struct, filled from one argp table per command.
 *
 *    argv --> commands.c picks the command --> its argp table (options.c) --> struct tool_options
 *                                                   '--> the same rows print `heaptally help COMMAND`
 *
 * Wrong usage is one line and the command to get help with, and EXIT_TOOL_FAILED; nothing here ends the
 * process.
 */
#ifndef HEAPTALLY_OPTIONS_H
#define HEAPTALLY_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_UNSET UINT32_MAX /* max_groups, max_frames: the command's own choice */

enum children_mode {
    CHILDREN_LEAKY, /* a child's recording is kept when it has findings or could not be checked */
    CHILDREN_ALL,   /* always */
    CHILDREN_NONE,  /* children are not recorded */
};

struct tool_options {
    /* what to look at: one of these, by command */
    char **program;    /* run: argv of the program, NULL-terminated */
    int pid;           /* snapshot */
    const char *file;  /* report */
    const char *topic; /* help; NULL: the overview */

    const char *output;    /* -o, a pattern; NULL: NAME_DEFAULT */
    const char *json_file; /* run, snapshot: --json=FILE */
    bool json;             /* report: --json */
    char *settings;        /* --depth and --setting, "key=value:key=value"; "" none; malloc'ed */
    enum children_mode children;
    int error_exitcode; /* 0: none */
    const char **suppressions;
    unsigned suppression_count;

    bool quiet, verbose, no_colour;
    bool help; /* --help: print it and do nothing */
    bool told; /* parsing only: the person knows what was wrong */
    uint32_t max_groups, max_frames;
    bool show_possible, show_suppressed, addresses;
};

extern const struct argp options_run, options_report, options_snapshot, options_help;

/* `words`: the command's name (for messages), then its arguments. false: told, and options_free() still has
 * to be called. */
bool options_parse(const struct argp *argp, int count, char **words, struct tool_options *ret);
void options_free(struct tool_options *options);

#endif
