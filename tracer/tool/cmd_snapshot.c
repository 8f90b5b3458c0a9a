/* SPDX-License-Identifier: MIT */
/*
 * cmd_snapshot.c - `heaptally snapshot -p PID`: a frozen copy of a running program, checked while the program
 * runs on.
 *
 *    is it there, ours, with the library and its signal handler?  -- no --> one line, nothing is sent
 *    bind the socket where the target looks --> sigqueue --> the copy connects: [NOTE] CHECK --> worker -->
 * DONE, it ends
 *
 * Signals that end us wait until the socket and the private directory are gone: a descriptor tells of them.
 *
 * The signal's default action would end the program: so it is only sent where SigCgt shows a handler for it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/tool/commands.h"
#include "tracer/tool/listener.h"
#include "tracer/tool/outcome.h"
#include "tracer/tool/procfs.h"
#include "tracer/tool/say.h"
#include "tracer/tool/show.h"
#include "tracer/tool/worker.h"

#define ANSWER_MS 10000

struct snapshot {
    const struct tool_options *options;
    int pid;
    char program[4096];
    int signal;
    struct listener listener;
    struct gathering gathering;
    sigset_t mask;   /* as we found it */
    int signal_fd;   /* what would end us, and SIGCHLD */
    int interrupted; /* by this signal; 0: not */
};

/* --- signals
 * --------------------------------------------------------------------------------------------------------- */

/* Those that our parent had us ignore stay ignored: a blocked one would be told all the same. */
static bool take_signals(struct snapshot *s)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action;
    sigset_t ours;

    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (sigaction(ends[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&ours, ends[i]);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would take the worker's wait status away */
    signal(SIGPIPE,
           SIG_IGN); /* a reader of our lines that goes away, and a file size limit, end no snapshot */
    signal(SIGXFSZ, SIG_IGN);
    sigprocmask(SIG_BLOCK, &ours, &s->mask);
    s->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signal_fd >= 0;
}

static bool is_interrupted(struct snapshot *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            s->interrupted = (int)info.ssi_signo;
    return s->interrupted != 0;
}

/* Nothing of ours is left behind: the signal may have its way. */
static void give_back_signals(const struct snapshot *s)
{
    if (s->signal_fd >= 0)
        close(s->signal_fd);
    sigprocmask(SIG_SETMASK, &s->mask, NULL);
    if (s->interrupted)
        raise(s->interrupted);
}

/* --- may it be asked?
 * --------------------------------------------------------------------------------------------- */

/* "15", "USR1", "SIGUSR1", "RTMAX-3", "RTMIN+2": as the library reads it. 0: not understood. */
static int signal_number(const char *text, size_t length)
{
    char word[32];
    char *end;
    snprintf(word, sizeof(word), "%.*s", (int)(length < sizeof(word) ? length : 0), text);
    long number = strtol(word, &end, 10);
    if (end != word && *end == '\0')
        return number > 0 && number <= SIGRTMAX ? (int)number : 0;
    const char *name = strncmp(word, "SIG", 3) == 0 ? word + 3 : word;
    if (strncmp(name, "RTMAX", 5) == 0)
        return SIGRTMAX + atoi(name + 5);
    if (strncmp(name, "RTMIN", 5) == 0)
        return SIGRTMIN + atoi(name + 5);
    for (int i = 1; i < SIGRTMIN; i++)
        if (sigabbrev_np(i) && strcmp(sigabbrev_np(i), name) == 0)
            return i;
    return 0;
}

/* The setting `signal` of the program's own HEAPTALLY; the last one counts. */
static int signal_of(int pid)
{
    int number = SIGRTMAX - 3;
    char *settings = procfs_environment(pid, "HEAPTALLY");
    for (const char *at = settings; at && *at;) {
        size_t length = strcspn(at, ":");
        int said = strncmp(at, "signal=", 7) == 0 ? signal_number(at + 7, length - 7) : 0;
        number = said ? said : number;
        at += length + (at[length] == ':');
    }
    free(settings);
    return number;
}

static bool may_be_asked(struct snapshot *s)
{
    uint64_t caught = 0;
    if (procfs_living_thread(s->pid) == 0) {
        say("there is no process %d", s->pid);
        return false;
    }
    if (kill(s->pid, 0) != 0) {
        say("process %d is not yours to look at: %s", s->pid, strerror(errno));
        return false;
    }
    if (!procfs_executable(s->pid, s->program, sizeof(s->program)))
        snprintf(s->program, sizeof(s->program), "pid-%d", s->pid);
    if (!procfs_maps_mention(s->pid, "libheaptally.so")) {
        say("process %d (%s) does not run libheaptally.so; start it with 'heaptally run'", s->pid,
            s->program);
        return false;
    }
    s->signal = signal_of(s->pid);
    if (!procfs_signal_mask(s->pid, "SigCgt", &caught) || !(caught >> (s->signal - 1) & 1)) {
        say("process %d (%s) does not record, or took signal %d for itself: start it with 'heaptally run', "
            "or with "
            "HEAPTALLY=record=1",
            s->pid, s->program, s->signal);
        return false;
    }
    return true;
}

/* --- the copy
 * -------------------------------------------------------------------------------------------------------- */

/* false: not in time, or interrupted. */
static bool wait_readable(struct snapshot *s, int fd, uint64_t deadline)
{
    struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = s->signal_fd, .events = POLLIN}};
    for (;;) {
        uint64_t now = say_monotonic_ms();
        int n = now < deadline ? poll(p, 2, (int)(deadline - now)) : 0;
        if (is_interrupted(s) || n == 0 || (n < 0 && errno != EINTR))
            return false;
        if (n > 0 && p[0].revents)
            return true;
    }
}

/* The copy has its own pid, and its parent is gone: it is known by its owner and by what it runs. */
static bool is_its_copy(const struct snapshot *s, int pid, unsigned uid)
{
    char program[4096];
    uid_t euid;
    gid_t egid;
    int parent;
    if (procfs_ids(s->pid, &euid, &egid, &parent) && uid != euid && uid != 0)
        return false;
    return !pid || !procfs_executable(pid, program, sizeof(program)) || strcmp(program, s->program) == 0;
}

static struct traced *accept_copy(struct snapshot *s, uint64_t deadline)
{
    while (wait_readable(s, s->listener.fd, deadline)) {
        int pid = 0;
        unsigned uid;
        int fd = listener_accept(&s->listener, &pid, &uid);
        if (fd >= 0 && is_its_copy(s, pid, uid)) {
            struct traced *t = traced_new(fd, pid, true);
            if (t)
                t->shown_pid = s->pid;
            return t;
        }
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

/* Up to its CHECK. There is no HELLO: the copy is asked for, not met. */
static bool read_request(struct snapshot *s, struct traced *t, uint64_t deadline)
{
    char *command = procfs_command(s->pid);
    struct wire_hello hello = {.pid = s->pid, .recording = 1};
    const char *slash = strrchr(s->program, '/');
    snprintf(hello.program, sizeof(hello.program), "%.255s", slash ? slash + 1 : s->program);
    bool ok = traced_hello(t, &hello, s->program, command);
    free(command);
    while (ok) {
        enum peer_status status = peer_next(t->peer);
        if (status == PEER_AGAIN) {
            ok = wait_readable(s, t->fd, deadline);
        } else if (status == PEER_MESSAGE && t->peer->header.type == WIRE_NOTE) {
            traced_note(t, t->peer->body.text);
        } else if (status == PEER_MESSAGE && t->peer->header.type == WIRE_CHECK) {
            t->target = t->peer->body.target;
            t->state = TRACED_WAITING;
            return true;
        } else {
            ok = false;
        }
    }
    return false;
}

static struct traced *ask(struct snapshot *s)
{
    uint64_t deadline = say_monotonic_ms() + ANSWER_MS;
    union sigval value = {.sival_ptr = (void *)(uintptr_t)WIRE_SNAPSHOT_VALUE};
    if (sigqueue(s->pid, s->signal, value) != 0) {
        say("process %d cannot be signalled: %s", s->pid, strerror(errno));
        return NULL;
    }
    struct traced *t = accept_copy(s, deadline);
    if (!t && s->interrupted)
        return NULL;
    if (!t) {
        say("process %d (%s) did not answer in %d seconds: it is stopped, blocks signal %d, or could not be "
            "copied",
            s->pid, s->program, ANSWER_MS / 1000, s->signal);
        return NULL;
    }
    if (read_request(s, t, deadline))
        return t;
    if (!s->interrupted)
        say("the copy of process %d (%s) did not say what it should", s->pid, s->program);
    traced_free(t);
    return NULL;
}

/* --- its check
 * ---------------------------------------------------------------------------------------------------------
 */

static void check_copy(struct snapshot *s, struct traced *t)
{
    char result[128];
    int status = 0;
    snprintf(result, sizeof(result), "%s/check", s->listener.directory);
    if (!worker_start(t, result, !s->options->quiet))
        return;
    pid_t worker = t->worker;
    while (waitpid(worker, &status, WNOHANG) == 0) {
        struct pollfd p = {.fd = s->signal_fd, .events = POLLIN};
        poll(&p, 1, -1);
        if (is_interrupted(s))
            worker_cancel(t, "the check was interrupted");
    }
    worker_ended(t, status);
}

/* A run writes its own file when it ends, and the snapshots before it are wanted, too: so they differ in name. */
static char *output_name(const struct snapshot *s)
{
    if (s->options->output)
        return name_expand(s->options->output, s->program, s->pid, false);
    return name_unused(name_expand(NAME_SNAPSHOT, s->program, s->pid, false));
}

static int finish(struct snapshot *s, const struct traced *t)
{
    struct gathering *g = &s->gathering;
    const char *path = names_take(&g->names, output_name(s));
    struct recording *rec = outcome_recording(t, t->result[0] ? NULL : t->why_not);

    if (!path || !rec) {
        recording_free(rec);
        say("out of memory");
        return EXIT_TOOL_FAILED;
    }
    bool written = outcome_write(g, rec, path);
    g->outcome.error_exitcode = s->options->error_exitcode;
    g->outcome.checked = rec->meta.verdict != REC_NOT_CHECKED;
    g->outcome.leaks = outcome_is_leaky(g, rec);
    show_result(s->options, rec, written ? path : NULL);
    g->outcome.tool_failed |= !show_json_file(s->options, rec, path);
    recording_free(rec);
    return exit_code_of(&g->outcome);
}

static int take(struct snapshot *s)
{
    char error[512];
    if (!outcome_load_suppressions(s->options, &s->gathering.suppressions) || !may_be_asked(s))
        return EXIT_TOOL_FAILED;
    if (!listener_open_for_process(s->pid, &s->listener, error, sizeof(error))) {
        say("%s", error);
        return EXIT_TOOL_FAILED;
    }
    struct traced *t = ask(s);
    listener_shut(&s->listener);
    if (!t)
        return EXIT_TOOL_FAILED;
    check_copy(s, t);
    int code = s->interrupted ? EXIT_TOOL_FAILED : finish(s, t);
    traced_free(t);
    return code;
}

int cmd_snapshot(const struct tool_options *options)
{
    struct snapshot s = {.options = options,
                         .pid = options->pid,
                         .signal_fd = -1,
                         .listener = {.fd = -1, .place = -1},
                         .gathering = {.options = options}};
    bool ready = take_signals(&s);
    if (!ready)
        say("no descriptor for signals: %m");
    int code = ready ? take(&s) : EXIT_TOOL_FAILED;
    listener_close(&s.listener);
    gathering_free(&s.gathering);
    if (s.interrupted)
        say("the snapshot was interrupted: there is no recording");
    give_back_signals(&s);
    return code;
}

/* --- recording on and off --------------------------------------------------------------------------------------- */

int cmd_record(const struct tool_options *options)
{
    struct snapshot s = {.options = options, .pid = options->pid};
    union sigval value = {
        .sival_ptr = (void *)(uintptr_t)(options->record_on ? WIRE_RECORD_ON_VALUE : WIRE_RECORD_OFF_VALUE)};
    if (!may_be_asked(&s))
        return EXIT_TOOL_FAILED;
    if (sigqueue(s.pid, s.signal, value) != 0) {
        say("process %d cannot be told: %s", s.pid, strerror(errno));
        return EXIT_TOOL_FAILED;
    }
    if (!options->quiet)
        say("process %d (%s) %s", s.pid, s.program, options->record_on ? "records" : "records no more");
    return EXIT_OK;
}
