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

enum frag_show { FRAG_SHOW_NONE, FRAG_SHOW_FIRST, FRAG_SHOW_ALL };

#define FRAG_WITH_MAX 4u

/* frag only */
struct frag_options {
    unsigned rounds, interval_ms, settle_ms;
    const char *during; /* NULL: none */
    const char *input;  /* NULL: /dev/null */
    const char *only;   /* "name,name"; NULL: all */
    const char *svg;    /* NULL: beside, under the program's name */
    bool no_svg;
    enum frag_show show;
    char *with[FRAG_WITH_MAX]; /* "name=library" */
    unsigned with_count;
};

struct tool_options {
    /* what to look at: one of these, by command */
    char **program;    /* run, frag: argv of the program, NULL-terminated */
    int pid;           /* snapshot, top, record */
    const char *file;  /* report */
    const char *topic; /* help; NULL: the overview */

    const char *output;    /* -o, a pattern; NULL: NAME_DEFAULT */
    const char *json_file; /* run, snapshot: --json=FILE */
    bool json;             /* report, frag: --json */
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
    bool keep_trace;             /* run: in any case */
    bool by_given;               /* report: --by or --tree, which only a trace can answer */
    uint32_t by, tree;           /* enum usage_by, enum usage_tree (report/usage.h) */
    bool record_on, record_said; /* record: what was asked for */
    uint32_t interval, batch; /* top: seconds; how often it prints without a terminal, 0: in one, for ever */
    struct frag_options frag;
};

extern const struct argp options_run, options_report, options_snapshot, options_top, options_record,
    options_frag, options_help;

/* `words`: the command's name (for messages), then its arguments. false: told, and options_free() still has
 * to be called. */
bool options_parse(const struct argp *argp, int count, char **words, struct tool_options *ret);
void options_free(struct tool_options *options);

#endif
