/* SPDX-License-Identifier: MIT */
/*
 * commands.h - the table of commands, and how a command line finds its row.
 *
 *    heaptally WORD ...      WORD is a command's name: that command
 *    heaptally --version     or --help: that
 *    heaptally [OPTION] PROG ...                       run (a program named "report": heaptally run report)
 *
 *    main.c --> commands_main --> options.c --> cmd_run.c | cmd_report.c | cmd_snapshot.c | cmd_frag.c | help (here)
 */
#ifndef HEAPTALLY_COMMANDS_H
#define HEAPTALLY_COMMANDS_H

#include <stdio.h>

#include "tracer/tool/options.h"

struct command {
    const char *name;
    const char *words; /* after the name, for help */
    const char *what;  /* one line */
    const char *more;  /* printed below its options */
    const struct argp *argp;
    int (*run)(const struct tool_options *options); /* returns the exit code */
};
const struct command *command_at(unsigned row); /* NULL past the end */
const struct command *command_by_name(const char *name);

int cmd_run(const struct tool_options *options);
int cmd_report(const struct tool_options *options);
int cmd_snapshot(const struct tool_options *options);
int cmd_top(const struct tool_options *options);
int cmd_record(const struct tool_options *options);
int cmd_frag(const struct tool_options *options);

/* The whole command line in, the exit code out. */
int commands_main(int argc, char **argv);

#endif
