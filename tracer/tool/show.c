/* SPDX-License-Identifier: MIT */
#include "tracer/tool/show.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer/report/usage.h"
#include "tracer/tool/say.h"

/* What a terminal shows after a run; a report of the file shows everything. */
#define RUN_GROUPS 10u
#define RUN_FRAMES 20u

static struct report_options report_options_of(const struct tool_options *o, int fd, const char *path,
                                               uint32_t groups, uint32_t frames)
{
    return (struct report_options){
        .colour = !o->no_colour && say_colour_allowed(fd),
        .max_groups = o->max_groups == OPTIONS_UNSET ? groups : o->max_groups,
        .max_frames = o->max_frames == OPTIONS_UNSET ? frames : o->max_frames,
        .show_possible = o->show_possible,
        .show_suppressed = o->show_suppressed,
        .addresses = o->addresses,
        .path = path,
    };
}

/* In one piece, so that what the program's children still print does not run through it. */
static void print_to_stderr(const struct recording *rec, const struct report_options *ro)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return;
    bool ok = report_text(rec, ro, out);
    ok = fclose(out) == 0 && ok;
    if (ok)
        fwrite(text, 1, size, stderr);
    fflush(stderr);
    free(text);
}

/* As a shell takes it. */
static char *quoted(const char *path)
{
    char *text = NULL;
    size_t size;
    if (strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,+:@%-") ==
        strlen(path))
        return strdup(path);
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    putc('\'', out);
    for (; *path; path++)
        fputs(*path == '\'' ? "'\\''" : (char[]){*path, '\0'}, out);
    putc('\'', out);
    fclose(out);
    return text;
}

static void tell_next(const char *path)
{
    char *name = quoted(path);
    if (name)
        say("next: heaptally report %s%s", path[0] == '-' ? "./" : "", name);
    free(name);
}

void show_result(const struct tool_options *options, const struct recording *rec, const char *path)
{
    char verdict[1024];
    bool unchecked = rec->meta.verdict == REC_NOT_CHECKED;
    report_verdict_line(rec, verdict, sizeof(verdict));
    if (options->quiet) {
        if (unchecked) /* quiet is not silent about that */
            say("%s", verdict);
        return;
    }
    /* Without a path the report names no further command: after a run there is one to type, and it shows the
     * others. */
    struct report_options ro = report_options_of(options, STDERR_FILENO, NULL, RUN_GROUPS, RUN_FRAMES);
    print_to_stderr(rec, &ro);
    if (path)
        tell_next(path);
}

bool show_json_file(const struct tool_options *options, const struct recording *rec, const char *path)
{
    if (!options->json_file)
        return true;
    struct report_options ro = report_options_of(options, -1, path, 0, 0);
    FILE *out = fopen(options->json_file, "we");
    bool ok = out && report_json(rec, &ro, out);
    if (out)
        ok = fclose(out) == 0 && ok;
    if (!ok)
        say("%s cannot be written: %s", options->json_file, strerror(errno));
    return ok;
}

bool show_report(const struct tool_options *options, const struct recording *rec, const char *path)
{
    struct report_options ro = report_options_of(options, STDOUT_FILENO, path, 0, 0);
    bool ok = options->json ? report_json(rec, &ro, stdout) : report_text(rec, &ro, stdout);
    ok = fflush(stdout) == 0 && ok;
    if (!ok && errno != EPIPE)
        say("writing failed: %s", strerror(errno));
    return ok;
}

bool show_usage(const struct tool_options *options, const struct recording *rec)
{
    struct report_options ro = report_options_of(options, STDOUT_FILENO, options->file, 0, RUN_FRAMES);
    bool ok;
    if (options->json) {
        ok = report_json(rec, &ro, stdout);
    } else {
        char verdict[1024];
        report_verdict_line(rec, verdict, sizeof(verdict));
        printf("heaptally: %s\n%s (pid %d)\n", verdict, rec->meta.program, rec->meta.pid);
        ok = report_usage(rec, &ro, (enum usage_by)options->by, (enum usage_tree)options->tree, stdout);
    }
    ok = fflush(stdout) == 0 && ok;
    if (!ok && errno != EPIPE)
        say("writing failed: %s", strerror(errno));
    return ok;
}
