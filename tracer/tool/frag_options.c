/* SPDX-License-Identifier: MIT */
/* frag_options.c - the command line of `heaptally frag`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/frag/study.h"
#include "tracer/tool/options.h"
#include "tracer/tool/options_parts.h"
#include "tracer/tool/say.h"

enum frag_key {
    KEY_ROUNDS = 512,
    KEY_INTERVAL,
    KEY_DURING,
    KEY_SETTLE,
    KEY_INPUT,
    KEY_SHOW,
    KEY_WITH,
    KEY_ONLY,
    KEY_FRAG_JSON,
    KEY_SVG,
    KEY_NO_SVG,
    KEY_FRAG_SETTING,
};

#define ROW(name, key, arg, help)                                                                            \
    {                                                                                                        \
        name, key, arg, 0, help, 0                                                                           \
    }

static const struct argp_option frag_rows[] = {
    ROW("rounds", KEY_ROUNDS, "N", "runs under each allocator (3)"),
    ROW("during", KEY_DURING, "COMMAND",
        "for servers: run COMMAND by /bin/sh beside the program; when it is done, the program gets SIGTERM"),
    ROW("settle", KEY_SETTLE, "MS", "with --during: wait so long before the end is measured (0)"),
    ROW("interval", KEY_INTERVAL, "MS", "between samples, or more where a sample is dear (5)"),
    ROW("input", KEY_INPUT, "FILE", "the program's standard input, opened anew for every run (/dev/null)"),
    ROW("show", KEY_SHOW, "none|first|all",
        "which runs' output goes to stderr (none; errors of failed runs do)"),
    ROW("with", KEY_WITH, "NAME=LIBRARY", "compare another allocator, too; may be given again"),
    ROW("only", KEY_ONLY, "NAME,NAME", "only these allocators"),
    {"json", KEY_FRAG_JSON, "FILE", OPTION_ARG_OPTIONAL,
     "print JSON instead of the table, or write it to FILE", 0},
    ROW("svg", KEY_SVG, "FILE", "where the picture goes (heaptally.PROG.frag.svg)"),
    ROW("no-svg", KEY_NO_SVG, NULL, "draw no picture"),
    ROW("setting", KEY_FRAG_SETTING, "KEY=VALUE", "a setting of the library, for heaptally's runs"),
    ROW("quiet", 'q', NULL, "no progress on stderr"),
    ROW("verbose", 'v', NULL, "print every size class"),
    ROW("help", 'h', NULL, "print this"),
    {0},
};

static bool read_number_into(const char *option, const char *text, long low, long high, unsigned *ret)
{
    long value;
    if (!option_read_number(option, text, low, high, &value))
        return false;
    *ret = (unsigned)value;
    return true;
}

static bool read_show(const char *text, enum frag_show *ret)
{
    static const char *const names[] = {"none", "first", "all"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum frag_show)i;
            return true;
        }
    }
    say("--show=%s: it is none, first or all", text);
    return false;
}

static bool add_with(struct frag_options *frag, char *text)
{
    if (strchr(text, '=') == NULL || text[0] == '=' || strpbrk(text, " :") != NULL) {
        say("--with=%s: it is NAME=LIBRARY, without space or ':'", text);
        return false;
    }
    if (frag->with_count == FRAG_WITH_MAX) {
        say("--with=%s: %u are enough", text, FRAG_WITH_MAX);
        return false;
    }
    frag->with[frag->with_count++] = text;
    return true;
}

static error_t parse_word(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    switch (key) {
    case ARGP_KEY_ERROR:
        return option_tell_unknown(state);
    case ARGP_KEY_ARG: /* the program: it and all behind it are not ours */
        o->program = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        return option_complain(o, "which program? try 'heaptally help frag'");
    case 'q':
        o->quiet = true;
        return 0;
    case 'v':
        o->verbose = true;
        return 0;
    case 'h':
        o->help = true;
        return 0;
    case KEY_FRAG_SETTING:
        return option_done(o, option_read_setting(o, arg));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_frag(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    struct frag_options *frag = &o->frag;
    switch (key) {
    case KEY_ROUNDS:
        return option_done(o, read_number_into("--rounds", arg, 1, STUDY_ROUNDS_MAX, &frag->rounds));
    case KEY_INTERVAL:
        return option_done(o, read_number_into("--interval", arg, 1, 60000, &frag->interval_ms));
    case KEY_SETTLE:
        return option_done(o, read_number_into("--settle", arg, 0, 3600000, &frag->settle_ms));
    case KEY_DURING:
        frag->during = arg;
        return 0;
    case KEY_INPUT:
        frag->input = arg;
        return 0;
    case KEY_SHOW:
        return option_done(o, read_show(arg, &frag->show));
    case KEY_WITH:
        return option_done(o, add_with(frag, arg));
    case KEY_ONLY:
        frag->only = arg;
        return 0;
    case KEY_FRAG_JSON:
        o->json |= arg == NULL;
        o->json_file = arg != NULL ? arg : o->json_file;
        return 0;
    case KEY_SVG:
        frag->svg = arg;
        return 0;
    case KEY_NO_SVG:
        frag->no_svg = true;
        return 0;
    default:
        return parse_word(key, arg, state);
    }
}

const struct argp options_frag = {.options = frag_rows, .parser = parse_frag};
