/* SPDX-License-Identifier: MIT */
/* options_live.c - the command lines of `heaptally top` and `heaptally record`, and what they share with report's. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "tracer/tool/options.h"
#include "tracer/tool/options_parts.h"
#include "tracer/tool/say.h"

enum live_key {
    KEY_TOP_BY = 768,
    KEY_INTERVAL,
    KEY_BATCH,
    KEY_TOP_GROUPS,
};

#define ROW(name, key, arg, help)                                                                            \
    {                                                                                                        \
        name, key, arg, 0, help, 0                                                                           \
    }
#define LAST_ROW                                                                                             \
    {                                                                                                        \
        0                                                                                                    \
    }

static const struct argp_option record_cmd_rows[] = {
    ROW("pid", 'p', "PID", "the process to tell"),
    ROW("quiet", 'q', NULL, "print only what went wrong"),
    ROW("help", 'h', NULL, "print this"),
    LAST_ROW,
};

static const struct argp_option top_rows[] = {
    ROW("pid", 'p', "PID", "the process to look at, which has a trace"),
    ROW("by", KEY_TOP_BY, "live|peak|allocs|temporary|bytes", "what its stacks are ordered by (live)"),
    ROW("interval", KEY_INTERVAL, "S", "seconds between two readings (1)"),
    ROW("batch", KEY_BATCH, "N", "print N times instead of drawing, and end"),
    ROW("groups", KEY_TOP_GROUPS, "N", "with --batch: stacks (25)"),
    ROW("help", 'h', NULL, "print this"),
    LAST_ROW,
};

/* --- values ---------------------------------------------------------------------------------------------------- */

/* Which of the words it is. */
static bool read_word(const char *option, const char *text, const char *const *words, const char *all,
                      uint32_t *ret)
{
    for (uint32_t i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = i;
            return true;
        }
    }
    say("%s=%s: it is %s", option, text, all);
    return false;
}

bool option_read_by(struct tool_options *o, const char *text)
{
    static const char *const words[] = {"live", "peak", "allocs", "temporary", "bytes", NULL};
    o->by_given = true;
    return read_word("--by", text, words, "live, peak, allocs, temporary or bytes", &o->by);
}

bool option_read_tree(struct tool_options *o, const char *text)
{
    static const char *const words[] = {"none", "callers", "callees", NULL};
    o->by_given = true;
    return read_word("--tree", text, words, "callers or callees", &o->tree);
}

bool option_read_pid(struct tool_options *o, const char *text)
{
    long value;
    if (!option_read_number("-p", text, 1, INT_MAX, &value))
        return false;
    o->pid = (int)value;
    return true;
}

static bool read_interval(struct tool_options *o, const char *text)
{
    long value;
    if (!option_read_number("--interval", text, 1, 3600, &value))
        return false;
    o->interval = (uint32_t)value;
    return true;
}

/* --- argp ------------------------------------------------------------------------------------------------------ */

static error_t parse_top(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    switch (key) {
    case ARGP_KEY_ERROR:
        return option_tell_unknown(state);
    case 'p':
        return option_done(o, option_read_pid(o, arg));
    case 'h':
        o->help = true;
        return 0;
    case KEY_TOP_BY:
        return option_done(o, option_read_by(o, arg));
    case KEY_INTERVAL:
        return option_done(o, read_interval(o, arg));
    case KEY_BATCH:
        return option_done(o, option_read_unsigned("--batch", arg, &o->batch));
    case KEY_TOP_GROUPS:
        return option_done(o, option_read_unsigned("--groups", arg, &o->max_groups));
    case ARGP_KEY_ARG:
        return option_complain(o, "-p PID is all it takes; try 'heaptally help top'");
    case ARGP_KEY_END:
        return o->pid ? 0 : option_complain(o, "which process? try 'heaptally help top'");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_record(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    switch (key) {
    case ARGP_KEY_ERROR:
        return option_tell_unknown(state);
    case 'p':
        return option_done(o, option_read_pid(o, arg));
    case 'q':
        o->quiet = true;
        return 0;
    case 'h':
        o->help = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->record_said || (strcmp(arg, "on") != 0 && strcmp(arg, "off") != 0))
            return option_complain(o, "it is on or off; try 'heaptally help record'");
        o->record_said = true;
        o->record_on = arg[1] == 'n';
        return 0;
    case ARGP_KEY_END:
        return o->pid && o->record_said
                   ? 0
                   : option_complain(o, "-p PID, and on or off; try 'heaptally help record'");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp options_top = {.options = top_rows, .parser = parse_top};
const struct argp options_record = {.options = record_cmd_rows, .parser = parse_record};
