/* SPDX-License-Identifier: MIT */
/*
 * cmd_run.c - `heaptally [run] PROG ARGS`, from the look at the program to the exit code.
 *
 *    suppressions -> target -> library -> private socket -> launch -> session -> recording, report -> exit
 * code (what can be wrong is found before the program runs)             (its children settle on the way)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/tool/commands.h"
#include "tracer/tool/launch.h"
#include "tracer/tool/outcome.h"
#include "tracer/tool/say.h"
#include "tracer/tool/session.h"
#include "tracer/tool/show.h"
#include "tracer/tool/trace_read.h"

#define TRACE_NAME "trace."

struct run {
    const struct tool_options *options;
    struct target target;
    struct listener listener;
    struct launch launch;
    struct session session;
    struct gathering gathering;
    char *command;    /* the program's command line in one line */
    const char *path; /* of the main recording, owned by gathering.names */
};

/* --- before it runs
 * --------------------------------------------------------------------------------------------- */

static char *joined(char **words)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    for (char **p = words; *p; p++)
        fprintf(out, "%s%s", p == words ? "" : " ", *p);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static char **run_environment(const struct run *run, const char *library)
{
    char *settings;
    const char *own = run->options->settings;
    if (asprintf(&settings, "record=1:socket=%s:trace=%s/" TRACE_NAME "%%p:trace_keep=%d%s%s%s",
                 run->listener.path, run->listener.directory, run->options->keep_trace,
                 run->options->children == CHILDREN_NONE ? ":children=0" : "", own ? ":" : "",
                 own ? own : "") < 0)
        return NULL;
    char **environment = launch_environment(environ, library, settings);
    free(settings);
    return environment;
}

static enum tool_exit failed(const char *why)
{
    say("%s", why);
    return EXIT_TOOL_FAILED;
}

/* All that does not need a process yet. */
static enum tool_exit run_prepare(struct run *run, char *library, size_t size)
{
    char error[8192] = "";
    enum tool_exit code;

    run->command = joined(run->options->program);
    if (!run->command)
        return failed("out of memory");
    if (!outcome_load_suppressions(run->options, &run->gathering.suppressions))
        return EXIT_TOOL_FAILED;
    code = target_check(run->options->program[0], &run->target, error, sizeof(error));
    if (code != EXIT_OK) {
        say("%s", error);
        return code;
    }
    if (!launch_find_library(library, size, error, sizeof(error)) ||
        !listener_open_private(&run->listener, error, sizeof(error)))
        return failed(error);
    return EXIT_OK;
}

static enum tool_exit run_launch(struct run *run, const char *library)
{
    const char *pattern = run->options->output ? run->options->output : NAME_DEFAULT;
    char **environment = run_environment(run, library);
    if (!environment || !launch_prepare(&run->launch) ||
        !launch_start(&run->launch, &run->target, run->options->program, environment)) {
        free(environment);
        say("%s cannot be started: %m", run->target.path);
        return EXIT_TOOL_FAILED;
    }
    free(environment);
    run->path = names_take(&run->gathering.names,
                           name_expand(pattern, run->options->program[0], run->launch.pid, false));
    if (!run->path)
        return failed("out of memory"); /* the child reads the end of its gate, and ends */
    if (!run->options->quiet)
        say("recording %s (pid %d) to %s", run->options->program[0], run->launch.pid, run->path);
    if (run->options->verbose) {
        say("preloading %s", library);
        say("listening at %s", run->listener.path);
    }
    return launch_go(&run->launch, run->target.path);
}

/* --- after it ran
 * ------------------------------------------------------------------------------------------------ */

/* Why the main program's last image has no verdict that stands; NULL: it has one. buf is for texts with
 * figures. */
static const char *main_why_not(const struct run *run, char *buf, size_t size)
{
    static const char never[] =
        "it never loaded libheaptally.so (it, or what it became by exec, is static or set-uid, "
        "of another architecture, or cleans its environment)";
    const struct traced *t = run->session.main_last;
    int status = run->session.main_status;

    if (!t || (t->result[0] && t->target.reason == WIRE_AT_EXEC && WIFEXITED(status)))
        return never;
    if (t->result[0])
        return NULL;
    if (t->why_not[0])
        return t->why_not;
    if (!t->hello.recording) {
        snprintf(buf, size, "%s", t->notes_count ? t->notes[0] : "recording could not start");
        return buf;
    }
    if (WIFSIGNALED(status)) {
        snprintf(buf, size, "it was killed by signal %d (%s) and could not be checked", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
        return buf;
    }
    return "it ended without a check (by a raw system call, with our connection closed, or with "
           "exit_check=0)";
}

/* An image that went away by exec, and whose successor never reported in, is one of those that were, not the
 * last. */
static void settle_replaced(struct run *run)
{
    struct traced *t = run->session.main_last;
    if (t && t->result[0] && t->target.reason == WIRE_AT_EXEC && WIFEXITED(run->session.main_status)) {
        run->session.main_last = NULL;
        outcome_child(&run->gathering, t);
    }
}

static struct recording *main_recording(struct run *run)
{
    char buf[512];
    int status = run->session.main_status;
    const char *why = main_why_not(run, buf, sizeof(buf));
    settle_replaced(run);

    char program[sizeof(run->target.path)];
    snprintf(program, sizeof(program), "%s", run->target.path);
    struct traced nobody = {.pid = run->launch.pid, .program = program, .command = run->command};
    struct recording *rec = outcome_recording(run->session.main_last ? run->session.main_last : &nobody, why);
    if (rec && why) {
        rec->meta.status = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
        if (!WIFSIGNALED(status))
            recording_set(&rec->meta.reason, "exit");
    }
    return rec;
}

/* The main process's, or NULL. A program that takes another's place finds that one's trace there: its own has a number. */
static char *find_trace(const struct run *run)
{
    char *found = NULL, *next;
    for (unsigned number = 0;; number++) {
        char suffix[16] = "";
        if (number > 0)
            snprintf(suffix, sizeof(suffix), ".%u", number);
        if (asprintf(&next, "%s/" TRACE_NAME "%d%s", run->listener.directory, run->launch.pid, suffix) < 0)
            return found;
        if (!trace_is_one(next)) {
            free(next);
            return found;
        }
        free(found);
        found = next;
    }
}

/* A program that was killed had no check: what it had not freed is in its trace, which is kept beside the recording. */
static void keep_trace(struct run *run, const struct recording *rec)
{
    char *from;
    if ((rec->meta.verdict != REC_NOT_CHECKED && !run->options->keep_trace) ||
        (from = find_trace(run)) == NULL)
        return;
    char *to = trace_beside(run->path);
    if (!to || !trace_copy(from, to))
        say("%s cannot be written: %m", to ? to : "the trace");
    else if (!run->options->quiet)
        say("what it %s, by stack: heaptally report %s%s%s",
            rec->meta.verdict == REC_NOT_CHECKED ? "had not freed" : "allocated",
            rec->meta.verdict == REC_NOT_CHECKED ? "" : "--by=bytes ", to[0] == '-' ? "./" : "", to);
    free(to);
    free(from);
}

static int run_finish(struct run *run)
{
    struct gathering *g = &run->gathering;
    int status = run->session.main_status;
    struct recording *rec = main_recording(run);

    g->outcome.by_signal = WIFSIGNALED(status);
    g->outcome.status = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    g->outcome.error_exitcode = run->options->error_exitcode;
    g->outcome.child_not_checked |= run->session.still_running > 0;
    if (!rec) {
        say("out of memory: not checked");
        g->outcome.tool_failed = true;
        return exit_code_of(&g->outcome);
    }
    bool written = outcome_write(g, rec, run->path);
    g->outcome.checked = rec->meta.verdict != REC_NOT_CHECKED;
    g->outcome.leaks |= outcome_is_leaky(g, rec);
    outcome_tell_children(g, run->session.still_running);
    show_result(run->options, rec, written ? run->path : NULL);
    g->outcome.tool_failed |= !show_json_file(run->options, rec, run->path);
    keep_trace(run, rec);
    recording_free(rec);
    return exit_code_of(&g->outcome);
}

/* --- all of it
 * ------------------------------------------------------------------------------------------------------ */

static int run_program(struct run *run)
{
    run->session = (struct session){
        .listener = &run->listener,
        .signal_fd = run->launch.signal_fd,
        .main_pid = run->launch.pid,
        .main_program = run->target.path,
        .main_command = run->command,
        .children = run->options->children != CHILDREN_NONE,
        .progress = !run->options->quiet,
        .settled = outcome_child,
        .ctx = &run->gathering,
    };
    if (!session_run(&run->session) || !run->session.main_ended)
        return failed("out of memory: the program runs on, unchecked");
    int code = run_finish(run);
    traced_free(run->session.main_last);
    return code;
}

int cmd_run(const struct tool_options *options)
{
    char library[4096];
    struct run run = {
        .options = options, .listener = {.fd = -1, .place = -1}, .gathering = {.options = options}};
    run.launch.signal_fd = run.launch.gate = -1;

    int code = (int)run_prepare(&run, library, sizeof(library));
    if (code == EXIT_OK)
        code = (int)run_launch(&run, library);
    if (code == EXIT_OK)
        code = run_program(&run);
    listener_close(&run.listener);
    gathering_free(&run.gathering);
    free(run.command);
    return code;
}
