/* SPDX-License-Identifier: MIT */
/*
 * cmd_report.c - `heaptally report FILE`: a recording on the screen, and the same gate as a run's; or a trace, which has
 * been through no check, and what its stacks allocated.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/tool/commands.h"
#include "tracer/tool/outcome.h"
#include "tracer/tool/say.h"
#include "tracer/tool/show.h"
#include "tracer/tool/trace_read.h"

static void tell_unreadable(const char *path, enum format_status status, const char *where)
{
    if (status == FORMAT_IO)
        say("%s cannot be read: %s", path, strerror(errno));
    else if (where && *where)
        say("%s: %s (%s)", path, format_status_text(status), where);
    else
        say("%s: %s", path, format_status_text(status));
}

static int report(struct gathering *g, struct recording *rec)
{
    g->outcome.error_exitcode = g->options->error_exitcode;
    g->outcome.checked = rec->meta.verdict != REC_NOT_CHECKED;
    g->outcome.leaks = outcome_is_leaky(g, rec); /* before it is shown: it marks what is suppressed */
    g->outcome.tool_failed = !show_report(g->options, rec, g->options->file);
    return exit_code_of(&g->outcome);
}

/* Of a tree all stacks are needed that may be seen in it. */
#define STACKS_SHOWN 25u
#define TREE_STACKS  2000u

static int report_trace(struct gathering *g, const char *path)
{
    const struct tool_options *options = g->options;
    uint32_t shown = options->max_groups == OPTIONS_UNSET ? STACKS_SHOWN : options->max_groups;
    struct trace_reader *reader = trace_reader_new(path);
    const struct recording *rec = NULL;
    char error[4500] = "out of memory";
    int code = EXIT_TOOL_FAILED;

    if (reader)
        rec = trace_reader_read(reader, (enum usage_by)options->by, options->tree ? TREE_STACKS : shown,
                                error, sizeof(error));
    if (rec) {
        g->outcome.tool_failed = !show_usage(options, rec);
        code = exit_code_of(&g->outcome);
    } else {
        say("%s", error);
    }
    trace_reader_free(reader);
    return code;
}

/* What --by and --tree ask for is in traces alone. */
static int report_trace_beside(struct gathering *g)
{
    const char *file = g->options->file;
    char *path = trace_beside(file);
    int code = EXIT_TOOL_FAILED;

    if (!path)
        say("out of memory");
    else if (trace_is_one(path))
        code = report_trace(g, path);
    else
        say("%s is no trace, and there is no %s: what --by and --tree ask for is not known (run with "
            "--keep-trace, or "
            "HEAPTALLY=record=1:trace=PATH)",
            file, path);
    free(path);
    return code;
}

int cmd_report(const struct tool_options *options)
{
    struct gathering gathering = {.options = options};
    struct recording *rec = NULL;
    const char *where = NULL;
    int code = EXIT_TOOL_FAILED;

    if (trace_is_one(options->file))
        return report_trace(&gathering, options->file);
    if (options->by_given)
        return report_trace_beside(&gathering);
    if (outcome_load_suppressions(options, &gathering.suppressions)) {
        enum format_status status = recording_read(options->file, &rec, &where);
        if (status == FORMAT_OK)
            code = report(&gathering, rec);
        else
            tell_unreadable(options->file, status, where);
    }
    recording_free(rec);
    gathering_free(&gathering);
    return code;
}
