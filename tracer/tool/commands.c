/* SPDX-License-Identifier: MIT */
#include "tracer/tool/commands.h"

#include <stdlib.h>
#include <string.h>

#include "tracer/tool/exit_codes.h"
#include "tracer/tool/say.h"

#ifndef HEAPTALLY_VERSION
#define HEAPTALLY_VERSION "unversioned"
#endif

static int cmd_help(const struct tool_options *options);

static const struct command table[] = {
    {"run", "[OPTION...] PROG [ARG...]",
     "run a program and find the blocks that nothing reaches when it ends (the default)",
     "The program's input, output and exit code stay its own; findings go to stderr, and whole into the\n"
     "recording. Options end at the first word that is none, or at '--'.\n",
     &options_run, cmd_run},
    {"report", "[OPTION...] FILE", "print a recording", "", &options_report, cmd_report},
    {"snapshot", "[OPTION...] -p PID", "look at a running program, started with recording on",
     "The program is not stopped for longer than a fork takes. It must have been started by 'heaptally "
     "run',\n"
     "or with LD_PRELOAD=libheaptally.so HEAPTALLY=record=1.\n",
     &options_snapshot, cmd_snapshot},
    {"top", "[OPTION...] -p PID", "show what a running program's stacks allocate, once a second",
     "The program must have a trace: started by 'heaptally run', or with HEAPTALLY=record=1:trace=PATH. It "
     "is "
     "not\n"
     "stopped. Keys: l, p, a, t, b order the stacks as --by does; q ends it.\n",
     &options_top, cmd_top},
    {"record", "[OPTION...] -p PID on|off", "let a running program record from now on, or no longer",
     "The program must have been started with recording, or with HEAPTALLY=record=off, which waits for "
     "this.\n",
     &options_record, cmd_record},
    {"frag", "[OPTION...] PROG [ARG...]", "compare how much memory a program takes under several allocators",
     "The program is run under glibc's malloc, jemalloc (where it is found) and heaptally, in turn and "
     "repeated,\n"
     "and once more to count its live bytes. The table goes to stdout, the picture is drawn by gnuplot.\n"
     "Its own input and output are /dev/null; --input and --show change that.\n",
     &options_frag, cmd_frag},
    {"help", "[COMMAND]", "print this, or more about a command", "", &options_help, cmd_help},
};
#define ROWS (sizeof(table) / sizeof(table[0]))

const struct command *command_at(unsigned row)
{
    return row < ROWS ? &table[row] : NULL;
}

const struct command *command_by_name(const char *name)
{
    for (unsigned i = 0; i < ROWS; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

/* --- help
 * ----------------------------------------------------------------------------------------------------------
 */

static void print_overview(FILE *out)
{
    fprintf(out, "heaptally finds lost blocks and cycles of a program's heap, with the stacks that allocated "
                 "them.\n\n");
    fprintf(out, "Usage: heaptally [OPTION...] PROG [ARG...]\n");
    for (unsigned i = 0; i < ROWS; i++)
        fprintf(out, "       heaptally %s %s\n", table[i].name, table[i].words);
    fprintf(out, "       heaptally --version\n\n");
    for (unsigned i = 0; i < ROWS; i++)
        fprintf(out, "  %-10s %s\n", table[i].name, table[i].what);
    fprintf(out, "\nExit codes:\n");
    for (unsigned i = 0; exit_text_at(i); i++)
        fprintf(out, "  %-16s %s\n", exit_text_at(i)->code, exit_text_at(i)->text);
    fprintf(out, "\nMore: heaptally help COMMAND, man heaptally\n");
}

static void print_command(const struct command *command, FILE *out)
{
    char name[64];
    struct argp titled = *command->argp; /* argp_help wants its texts in the struct that the parser uses */
    titled.args_doc = NULL;
    fprintf(out, "Usage: heaptally %s %s\n%s\n", command->name, command->words, command->what);
    fputs("\n", out);
    snprintf(name, sizeof(name), "heaptally %s", command->name);
    argp_help(&titled, out, ARGP_HELP_LONG, name);
    if (*command->more)
        fprintf(out, "\n%s", command->more);
}

static int finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_OK;
    say("writing failed: %m");
    return EXIT_TOOL_FAILED;
}

static int cmd_help(const struct tool_options *options)
{
    const struct command *command = options->topic ? command_by_name(options->topic) : NULL;
    if (options->topic && !command) {
        say("there is no command '%s'; try 'heaptally help'", options->topic);
        return EXIT_TOOL_FAILED;
    }
    if (command)
        print_command(command, stdout);
    else
        print_overview(stdout);
    return finish_output();
}

/* --- which command
 * --------------------------------------------------------------------------------------------------- */

static int dispatch(const struct command *command, int count, char **words)
{
    struct tool_options options;
    int code = EXIT_TOOL_FAILED;
    char *kept = words[0];
    char name[16];

    /* argp takes the first word for the program's name and shows it to the parsers. */
    snprintf(name, sizeof(name), "%s", command->name);
    words[0] = name;
    if (options_parse(command->argp, count, words, &options)) {
        if (options.help) {
            print_command(command, stdout);
            code = finish_output();
        } else {
            code = command->run(&options);
        }
    }
    words[0] = kept;
    options_free(&options);
    return code;
}

int commands_main(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_TOOL_FAILED;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("heaptally %s\n", HEAPTALLY_VERSION);
        return finish_output();
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview(stdout);
        return finish_output();
    }
    const struct command *command = command_by_name(argv[1]);
    return command ? dispatch(command, argc - 1, argv + 1) : dispatch(command_by_name("run"), argc, argv);
}
