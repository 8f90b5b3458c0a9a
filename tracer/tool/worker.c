/* SPDX-License-Identifier: MIT */
#include "tracer/tool/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/image/image.h"
#include "tracer/tool/check.h"
#include "tracer/tool/procfs.h"
#include "tracer/tool/say.h"

/* Exit codes of a worker: this + enum rec_verdict; crashes and sanitizers use others. */
#define VERDICT_BASE 16

static const char *reason_name(uint32_t reason)
{
    static const char *const names[] = {
        [WIRE_AT_EXIT] = "exit", [WIRE_AT_FAST_EXIT] = "_exit", [WIRE_AT_QUICK_EXIT] = "quick_exit",
        [WIRE_AT_EXEC] = "exec", [WIRE_AT_SIGNAL] = "signal",   [WIRE_ON_REQUEST] = "snapshot"};
    return reason < sizeof(names) / sizeof(names[0]) && names[reason] ? names[reason] : "exit";
}

static bool check(const struct traced *t, struct recording *rec, struct progress *progress)
{
    struct memory_source source;
    int tid = t->pid ? procfs_thread_here(t->pid, t->target.tid) : t->target.tid;
    if (!source_open_best(t->pid, tid, t->fd, t->target.alloc_root, &source))
        return recording_set(&rec->meta.why_not,
                             "its memory cannot be read, neither from outside nor through its socket");
    struct check_request request = {&source, &t->target, say_progress, progress};
    bool ok = check_process(&request, rec);
    if (source.close)
        source.close(source.ctx);
    return ok;
}

/* What check_process left open: it may not know how the process ends. */
static bool complete_meta(const struct traced *t, struct recording *rec)
{
    if (rec->meta.status == 0)
        rec->meta.status = t->target.status;
    return rec->meta.reason[0] || recording_set(&rec->meta.reason, reason_name(t->target.reason));
}

static void __attribute__((noreturn)) worker_main(const struct traced *t, const char *result, bool show)
{
    struct progress progress;
    pid_t session = getppid();
    /* Nobody left to send DONE: our end of the socket must not keep the target waiting. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != session)
        _exit(0);
    /* libdw would ask the network for debug files while the program stands still. */
    unsetenv("DEBUGINFOD_URLS");
    uint64_t start = say_monotonic_ms();
    struct recording *rec = traced_recording(t);
    say_progress_start(&progress, show, t->hello.program);
    bool ok = rec && check(t, rec, &progress);
    say_progress_end(&progress);
    if (!rec || !complete_meta(t, rec))
        _exit(1);
    if (!ok) {
        rec->meta.verdict = REC_NOT_CHECKED;
        if (!rec->meta.why_not[0])
            recording_set(&rec->meta.why_not, "memory ran out while it was checked");
    }
    /* At its end the program stands still while it is checked; after a snapshot only its copy does. */
    if (rec->meta.freeze_us == 0)
        rec->meta.freeze_us = t->target.frozen_us +
                              (t->target.reason == WIRE_ON_REQUEST ? 0 : (say_monotonic_ms() - start) * 1000);
    enum format_status status = recording_write(rec, result);
    if (status != FORMAT_OK)
        say("%s cannot be written: %s", result,
            status == FORMAT_IO ? strerror(errno) : format_status_text(status));
    _exit(status == FORMAT_OK ? VERDICT_BASE + (int)rec->meta.verdict : 1);
}

static void set_blocking(int fd, bool blocking)
{
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

static void release(struct traced *t)
{
    set_blocking(t->fd, false);
    peer_send_done(t->fd, t->verdict);
    t->state = TRACED_RUNNING;
    t->worker = 0;
}

bool worker_start(struct traced *t, const char *result, bool progress)
{
    if (t->result[0])
        unlink(t->result);
    t->result[0] = t->why_not[0] = '\0';
    t->verdict = REC_NOT_CHECKED;
    set_blocking(t->fd, true); /* the worker asks and waits for answers */
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        worker_main(t, result, progress);
    if (pid < 0) {
        snprintf(t->why_not, sizeof(t->why_not), "the checker could not be started: %s", strerror(errno));
        release(t);
        return false;
    }
    snprintf(t->result, sizeof(t->result), "%s", result);
    t->worker = pid;
    t->state = TRACED_CHECKING;
    return true;
}

void worker_ended(struct traced *t, int wait_status)
{
    int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    if (code >= VERDICT_BASE && code <= VERDICT_BASE + REC_LEAKS) {
        t->verdict = (uint32_t)(code - VERDICT_BASE);
    } else {
        unlink(t->result);
        t->result[0] = '\0';
        if (t->why_not[0] == '\0' && WIFSIGNALED(wait_status))
            snprintf(t->why_not, sizeof(t->why_not), "the checker crashed (signal %d)",
                     WTERMSIG(wait_status));
        else if (t->why_not[0] == '\0')
            snprintf(t->why_not, sizeof(t->why_not), "the checker failed (code %d)", code);
    }
    release(t);
}

void worker_cancel(struct traced *t, const char *why)
{
    if (t->state != TRACED_CHECKING)
        return;
    snprintf(t->why_not, sizeof(t->why_not), "%s", why);
    kill(t->worker, SIGKILL);
}
