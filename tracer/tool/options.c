/* SPDX-License-Identifier: MIT */
#include "tracer/tool/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/tool/exit_codes.h"
#include "tracer/tool/name.h"
#include "tracer/tool/options_parts.h"
#include "tracer/tool/say.h"

enum option_key {
    KEY_DEPTH = 256,
    KEY_CHILDREN,
    KEY_ERROR_EXITCODE,
    KEY_SUPPRESSIONS,
    KEY_JSON,
    KEY_JSON_FILE,
    KEY_SETTING,
    KEY_KEEP_TRACE,
    KEY_NO_COLOUR,
    KEY_GROUPS,
    KEY_FRAMES,
    KEY_POSSIBLE,
    KEY_SHOW_SUPPRESSED,
    KEY_ADDRESSES,
    KEY_BY,
    KEY_TREE,
};

/* --- the rows
 * ---------------------------------------------------------------------------------------------------- */

#define ROW(name, key, arg, help)                                                                            \
    {                                                                                                        \
        name, key, arg, 0, help, 0                                                                           \
    }
#define LAST_ROW                                                                                             \
    {                                                                                                        \
        0                                                                                                    \
    }

/* Shared by run and snapshot. */
static const struct argp_option record_rows[] = {
    ROW("output", 'o', "FILE",
        "where the recording goes; %p is the process id, %e the program (heaptally.%e.%p.htz)"),
    ROW("json", KEY_JSON_FILE, "FILE", "also write the report as JSON"),
    ROW("quiet", 'q', NULL, "print only what went wrong"),
    ROW("verbose", 'v', NULL, "print how things are done, and possible blocks in full"),
    LAST_ROW,
};

/* Shared by everything that judges. */
static const struct argp_option gate_rows[] = {
    ROW("error-exitcode", KEY_ERROR_EXITCODE, "N",
        "end with N when there are unsuppressed lost or cycle blocks"),
    ROW("suppressions", KEY_SUPPRESSIONS, "FILE", "LeakSanitizer's 'leak:pattern' lines; may be given again"),
    ROW("no-color", KEY_NO_COLOUR, NULL, "no colours, also on a terminal"),
    ROW("help", 'h', NULL, "print this"),
    LAST_ROW,
};

/* Shared by everything that prints findings. */
static const struct argp_option show_rows[] = {
    ROW("groups", KEY_GROUPS, "N", "print at most N findings in full; 0: all"),
    ROW("frames", KEY_FRAMES, "N", "print at most N frames of a stack; 0: all"),
    ROW("possible", KEY_POSSIBLE, NULL, "print possible blocks in full, too"),
    ROW("show-suppressed", KEY_SHOW_SUPPRESSED, NULL, "print suppressed findings, too"),
    ROW("addresses", KEY_ADDRESSES, NULL, "print the addresses of blocks and code"),
    LAST_ROW,
};

static const struct argp_option run_rows[] = {
    ROW("depth", KEY_DEPTH, "N", "frames kept of an allocating stack"),
    ROW("children", KEY_CHILDREN, "leaky|all|none", "which children's recordings are kept (leaky)"),
    ROW("keep-trace", KEY_KEEP_TRACE, NULL,
        "keep the trace beside the recording, in any case: report --by and --tree read it"),
    ROW("setting", KEY_SETTING, "KEY=VALUE", "a setting of the library (HEAPTALLY=help=1 lists them)"),
    LAST_ROW,
};

static const struct argp_option report_rows[] = {
    ROW("json", KEY_JSON, NULL, "print JSON instead of text"),
    ROW("verbose", 'v', NULL, "as --possible --addresses"),
    ROW("by", KEY_BY, "live|peak|allocs|temporary|bytes",
        "of a trace, or one that was kept beside FILE: what its stacks are ordered by (live)"),
    ROW("tree", KEY_TREE, "callers|callees", "the same, from main inward, or from what allocates outward"),
    LAST_ROW,
};

static const struct argp_option snapshot_rows[] = {
    ROW("pid", 'p', "PID", "the process to look at"),
    LAST_ROW,
};

/* --- values
 * ------------------------------------------------------------------------------------------------------- */

bool option_read_number(const char *option, const char *text, long low, long high, long *ret)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < low || value > high) {
        say("%s=%s: a number from %ld to %ld is needed", option, text, low, high);
        return false;
    }
    *ret = value;
    return true;
}

bool option_read_unsigned(const char *option, const char *text, uint32_t *ret)
{
    long value;
    if (!option_read_number(option, text, 0, INT_MAX, &value))
        return false;
    *ret = (uint32_t)value;
    return true;
}

static bool read_error_exitcode(const char *text, int *ret)
{
    long value;
    if (!option_read_number("--error-exitcode", text, 0, 255, &value))
        return false;
    if (value != 0 && !exit_code_is_usable(value)) {
        say("--error-exitcode=%ld would look like one of heaptally's own codes (help lists them); take "
            "another",
            value);
        return false;
    }
    *ret = (int)value;
    return true;
}

static bool read_children(const char *text, enum children_mode *ret)
{
    static const char *const names[] = {"leaky", "all", "none"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum children_mode)i;
            return true;
        }
    }
    say("--children=%s: it is leaky, all or none", text);
    return false;
}

static bool add_setting(struct tool_options *o, const char *key, const char *value)
{
    char *joined;
    const char *old = o->settings ? o->settings : "";
    if (asprintf(&joined, "%s%s%s%s", old, *old ? ":" : "", key, value) < 0)
        return false;
    free(o->settings);
    o->settings = joined;
    return true;
}

bool option_read_setting(struct tool_options *o, const char *text)
{
    if (!strchr(text, '=') || strchr(text, ':')) {
        say("--setting=%s: it is KEY=VALUE without ':'", text);
        return false;
    }
    return add_setting(o, "", text);
}

static bool read_depth(struct tool_options *o, const char *text)
{
    long value;
    return option_read_number("--depth", text, 1, 1024, &value) && add_setting(o, "depth=", text);
}

static bool add_suppressions(struct tool_options *o, const char *path)
{
    const char **grown = realloc(o->suppressions, (o->suppression_count + 1) * sizeof(*grown));
    if (!grown)
        return false;
    o->suppressions = grown;
    o->suppressions[o->suppression_count++] = path;
    return true;
}

static bool read_output(struct tool_options *o, const char *pattern)
{
    char error[4200];
    if (!name_pattern_is_good(pattern, error, sizeof(error))) {
        say("%s", error);
        return false;
    }
    o->output = pattern;
    return true;
}

/* --- argp
 * ----------------------------------------------------------------------------------------------------------
 */

/* Whoever answers false has said why. */
error_t option_done(struct tool_options *o, bool ok)
{
    o->told |= !ok;
    return ok ? 0 : EINVAL;
}

/* What argp does not know it will not name unless it may print in its own way: getopt has stepped past the
 * word, or, in a bundle of letters, stands at it. */
error_t option_tell_unknown(const struct argp_state *state)
{
    const struct tool_options *o = state->input;
    int at = state->next > 1 && state->next <= state->argc ? state->next - 1 : state->next;
    if (!o->told && at > 0 && at < state->argc)
        say("'%s' is no option here, or lacks its value; try 'heaptally help %s'", state->argv[at],
            state->name);
    return 0;
}

/* `heaptally run --help` asks for no program. */
error_t option_complain(struct tool_options *o, const char *line)
{
    if (o->help)
        return 0;
    say("%s", line);
    return option_done(o, false);
}

/* Options of the shared tables. `input` has to be handed to argp's children by hand. */
static error_t parse_shared(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    switch (key) {
    case 'o':
        return option_done(o, read_output(o, arg));
    case KEY_JSON_FILE:
        o->json_file = arg;
        return 0;
    case 'q':
        o->quiet = true;
        return 0;
    case KEY_ERROR_EXITCODE:
        return option_done(o, read_error_exitcode(arg, &o->error_exitcode));
    case KEY_SUPPRESSIONS:
        return option_done(o, add_suppressions(o, arg));
    case 'h':
        o->help = true;
        return 0;
    case KEY_NO_COLOUR:
        o->no_colour = true;
        return 0;
    case KEY_GROUPS:
        return option_done(o, option_read_unsigned("--groups", arg, &o->max_groups));
    case KEY_FRAMES:
        return option_done(o, option_read_unsigned("--frames", arg, &o->max_frames));
    case KEY_POSSIBLE:
        o->show_possible = true;
        return 0;
    case KEY_SHOW_SUPPRESSED:
        o->show_suppressed = true;
        return 0;
    case KEY_ADDRESSES:
        o->addresses = true;
        return 0;
    case 'v':
        o->verbose = o->show_possible = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp shared_record = {.options = record_rows, .parser = parse_shared};
static const struct argp shared_gate = {.options = gate_rows, .parser = parse_shared};
static const struct argp shared_show = {.options = show_rows, .parser = parse_shared};
static const struct argp_child run_children[] = {
    {&shared_record, 0, NULL, 0}, {&shared_gate, 0, NULL, 0}, {&shared_show, 0, NULL, 0}, {0}};
static const struct argp_child report_children[] = {
    {&shared_gate, 0, NULL, 0}, {&shared_show, 0, NULL, 0}, {0}};

static error_t hand_down(struct argp_state *state)
{
    for (const struct argp_child *c = state->root_argp->children; c && c->argp; c++)
        state->child_inputs[c - state->root_argp->children] = state->input;
    return 0;
}

static error_t parse_run(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        return hand_down(state);
    case ARGP_KEY_ERROR:
        return option_tell_unknown(state);
    case KEY_DEPTH:
        return option_done(o, read_depth(o, arg));
    case KEY_CHILDREN:
        return option_done(o, read_children(arg, &o->children));
    case KEY_KEEP_TRACE:
        o->keep_trace = true;
        return 0;
    case KEY_SETTING:
        return option_done(o, option_read_setting(o, arg));
    case ARGP_KEY_ARG: /* the program: it and all behind it are not ours */
        o->program = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        return option_complain(o, "which program? try 'heaptally help run'");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_report(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        return hand_down(state);
    case ARGP_KEY_ERROR:
        return option_tell_unknown(state);
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_BY:
        return option_done(o, option_read_by(o, arg));
    case KEY_TREE:
        return option_done(o, option_read_tree(o, arg));
    case 'v':
        o->show_possible = o->addresses = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->file)
            return option_complain(o, "one recording at a time; try 'heaptally help report'");
        o->file = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        return option_complain(o, "which recording? try 'heaptally help report'");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_snapshot(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        return hand_down(state);
    case ARGP_KEY_ERROR:
        return option_tell_unknown(state);
    case 'p':
        return option_done(o, option_read_pid(o, arg));
    case ARGP_KEY_ARG:
        return option_complain(o, "-p PID is all it takes; try 'heaptally help snapshot'");
    case ARGP_KEY_END:
        return o->pid ? 0 : option_complain(o, "which process? try 'heaptally help snapshot'");
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_help(int key, char *arg, struct argp_state *state)
{
    struct tool_options *o = state->input;
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    o->topic = arg;
    return 0;
}

const struct argp options_run = {.options = run_rows, .parser = parse_run, .children = run_children};
const struct argp options_report = {
    .options = report_rows, .parser = parse_report, .children = report_children};
const struct argp options_snapshot = {
    .options = snapshot_rows, .parser = parse_snapshot, .children = run_children};
const struct argp options_help = {.parser = parse_help};

bool options_parse(const struct argp *argp, int count, char **words, struct tool_options *ret)
{
    *ret = (struct tool_options){.max_groups = OPTIONS_UNSET,
                                 .max_frames = OPTIONS_UNSET,
                                 .interval = 1,
                                 .frag = {.rounds = 3, .interval_ms = 5}};
    unsigned flags = ARGP_IN_ORDER | ARGP_NO_EXIT | ARGP_NO_HELP | ARGP_NO_ERRS;
    return argp_parse(argp, count, words, flags, NULL, ret) == 0;
}

void options_free(struct tool_options *options)
{
    free(options->settings);
    free(options->suppressions);
}
