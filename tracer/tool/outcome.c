/* SPDX-License-Identifier: MIT */
#include "tracer/tool/outcome.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tracer/report/report.h"
#include "tracer/tool/say.h"

#define CHILDREN_TOLD_MAX 10u /* by name; the others are in the count, and in their files */

static void warn(const char *line)
{
    say("%s", line);
}

bool outcome_load_suppressions(const struct tool_options *options, struct suppressions **ret)
{
    char error[4600];
    for (unsigned i = 0; i < options->suppression_count; i++) {
        if (suppressions_load(ret, options->suppressions[i], warn, error, sizeof(error)))
            continue;
        say("%s", error);
        return false;
    }
    return true;
}

static struct recording *not_checked(const struct traced *t, const char *why)
{
    struct recording *rec = traced_recording(t);
    if (rec && recording_set(&rec->meta.why_not, why) && recording_set(&rec->meta.reason, "gone"))
        return rec;
    recording_free(rec);
    return NULL;
}

struct recording *outcome_recording(const struct traced *t, const char *why)
{
    struct recording *rec = NULL;
    char text[400];
    if (why || !t->result[0])
        return not_checked(t, why ? why : t->why_not);
    enum format_status status = recording_read(t->result, &rec, NULL);
    if (status == FORMAT_OK)
        return rec;
    snprintf(text, sizeof(text), "the result of its check cannot be read: %s", format_status_text(status));
    return not_checked(t, text);
}

bool outcome_is_leaky(struct gathering *g, struct recording *rec)
{
    /* A verdict without groups to suppress still is one: suppressions take findings away one by one, not
     * wholesale. */
    if (rec->meta.verdict != REC_LEAKS)
        return false;
    return !g->suppressions || suppressions_apply(g->suppressions, rec) > 0;
}

bool outcome_write(struct gathering *g, const struct recording *rec, const char *path)
{
    enum format_status status = recording_write(rec, path);
    if (status == FORMAT_OK)
        return true;
    say("%s cannot be written: %s", path, status == FORMAT_IO ? strerror(errno) : format_status_text(status));
    g->outcome.tool_failed = true;
    return false;
}

/* Why a process that had reported in has no verdict; NULL: it has one. */
static const char *child_why_not(const struct traced *t)
{
    if (t->result[0])
        return NULL;
    if (t->why_not[0])
        return t->why_not;
    if (!t->hello.recording)
        return t->notes_count ? t->notes[0] : "recording could not start";
    return "it went away without a check (killed, or ended by a raw system call)";
}

static void tell_child(struct gathering *g, const struct traced *t, const struct recording *rec,
                       const char *path)
{
    char verdict[512];
    if (g->options->quiet || g->children_told++ >= CHILDREN_TOLD_MAX)
        return;
    report_verdict_line(rec, verdict, sizeof(verdict));
    say("%s %s (pid %d): %s%s%s", t->is_main ? "before its exec," : "child", t->program, rec->meta.pid,
        verdict, path ? "; see " : "", path ? path : "");
}

static void keep_child(struct gathering *g, const struct traced *t, const struct recording *rec, bool tell)
{
    const char *pattern = g->options->output ? g->options->output : NAME_DEFAULT;
    const char *path = names_take(&g->names, name_expand(pattern, t->program, rec->meta.pid, true));
    if (!path) {
        g->outcome.tool_failed = true;
        return;
    }
    bool written = outcome_write(g, rec, path);
    if (tell)
        tell_child(g, t, rec, written ? path : NULL);
}

void outcome_child(void *gathering, struct traced *t)
{
    struct gathering *g = gathering;
    const char *why = child_why_not(t);
    bool all = g->options->children == CHILDREN_ALL;

    if (!why && t->verdict == REC_CLEAN && !all) { /* the common case, a thousand times: not even read */
        g->children_clean++;
        traced_free(t);
        return;
    }
    struct recording *rec = outcome_recording(t, why);
    bool leaky = rec && outcome_is_leaky(g, rec);
    bool unchecked = !rec || rec->meta.verdict == REC_NOT_CHECKED;
    g->children_leaky += leaky;
    g->children_not_checked += unchecked;
    g->children_clean += !leaky && !unchecked;
    g->outcome.leaks |= leaky;
    g->outcome.child_not_checked |= unchecked;
    if (rec && (all || leaky || unchecked))
        keep_child(g, t, rec, leaky || unchecked);
    recording_free(rec);
    traced_free(t);
}

void outcome_tell_children(const struct gathering *g, unsigned still_running)
{
    unsigned total = g->children_clean + g->children_leaky + g->children_not_checked;
    if (g->options->quiet)
        return;
    if (total)
        say("%u more (children, images before an exec): %u clean, %u with leaks, %u not checked", total,
            g->children_clean, g->children_leaky, g->children_not_checked);
    if (still_running)
        say("%u child process%s still run%s, not checked", still_running, still_running == 1 ? "" : "es",
            still_running == 1 ? "s" : "");
}

void gathering_free(struct gathering *g)
{
    suppressions_free(g->suppressions);
    names_free(&g->names);
}
