/* SPDX-License-Identifier: MIT */
#include "tracer/tool/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/tool/say.h"
#include "tracer/tool/worker.h"

#define GRACE_MS 500 /* for children that end together with the program */

/* --- the list
 * ------------------------------------------------------------------------------------------------------ */

static bool session_add(struct session *s, struct traced *t)
{
    if (s->count == s->capacity) {
        unsigned capacity = s->capacity ? 2 * s->capacity : 32;
        struct traced **grown = realloc(s->traced, capacity * sizeof(struct traced *));
        if (!grown)
            return false;
        s->traced = grown;
        s->capacity = capacity;
    }
    s->traced[s->count++] = t;
    return true;
}

/* Hand over what is gone. The main program's newest image stays: only the end tells whether it was the last.
 */
static void settle_gone(struct session *s)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < s->count; i++) {
        struct traced *t = s->traced[i];
        if (t->state != TRACED_GONE || t == s->main_last)
            s->traced[kept++] = t;
        else if (t->program) /* it has said HELLO */
            s->settled(s->ctx, t);
        else
            traced_free(t);
    }
    s->count = kept;
}

/* --- messages
 * ----------------------------------------------------------------------------------------------------------
 */

/* The same image has connected anew, after its program closed our socket: what is known of it is known of the
 * new one. Or it is the image behind an exec; the end of the one before it is read later when a child that was
 * forked just then holds its socket. A pid that is used again is no danger: pids go round in tens of thousands,
 * and a LOST one is closed as soon as it ends. */
static void drop_lost(struct session *s, const struct traced *now)
{
    for (unsigned i = 0; i < s->count; i++) {
        struct traced *t = s->traced[i];
        if (t == now || t->pid != now->pid)
            continue;
        t->succeeded = true;
        if (t->state != TRACED_LOST)
            continue;
        traced_close(t);
        if (t->target.reason == WIRE_AT_EXEC)
            continue; /* an image of its own, with a verdict */
        free(t->program);
        t->program = NULL; /* as if it had never said HELLO: settle_gone frees it */
        if (s->main_last == t)
            s->main_last = NULL;
    }
}

static void session_hello(struct session *s, struct traced *t)
{
    drop_lost(s, t);
    bool first = t->is_main && !s->main_seen;
    if (!traced_hello(t, &t->peer->body.hello, first ? s->main_program : NULL,
                      first ? s->main_command : NULL)) {
        traced_close(t);
        return;
    }
    if (t->is_main) {
        s->main_last = t; /* the one before it was replaced by an exec, and is settled like any other */
        s->main_seen = true;
    }
}

static void session_check(struct session *s, struct traced *t)
{
    t->target = t->peer->body.target;
    if (s->cancelled)
        snprintf(t->why_not, sizeof(t->why_not), "the check was interrupted");
    if (s->cancelled ||
        !t->hello.recording) /* without a recording there is nothing to look at: its NOTE says why */
        peer_send_done(t->fd, REC_NOT_CHECKED);
    else
        t->state = TRACED_WAITING;
}

/* One message. HELLO comes first and once; all else is for those who have said it. */
static bool session_message(struct session *s, struct traced *t)
{
    if ((t->peer->header.type == WIRE_HELLO) != (t->state == TRACED_SILENT))
        return false;
    if (t->peer->header.type == WIRE_HELLO)
        session_hello(s, t);
    else if (t->peer->header.type == WIRE_NOTE)
        traced_note(t, t->peer->body.text);
    else
        session_check(s, t);
    return true;
}

/* Whoever breaks the rules is closed, and keeps the reason instead of any verdict. */
static void session_break(struct session *s, struct traced *t, enum peer_status status)
{
    if (status == PEER_OTHER_VERSION)
        snprintf(t->why_not, sizeof(t->why_not),
                 "its libheaptally.so speaks version %u, this command version %u", t->peer->header.version,
                 WIRE_VERSION);
    else
        snprintf(t->why_not, sizeof(t->why_not), "it sent a message that makes no sense");
    if (t->state == TRACED_SILENT) {
        drop_lost(s, t);
        /* It counts as one that reported in: it loaded the library, of whatever version. */
        traced_hello(t, &(struct wire_hello){.pid = t->pid}, NULL, NULL);
        s->main_last = t->is_main ? t : s->main_last;
    }
    if (t->result[0])
        unlink(t->result);
    t->result[0] = '\0';
    traced_close(t);
}

static void session_read(struct session *s, struct traced *t)
{
    while (t->state == TRACED_SILENT || t->state == TRACED_RUNNING) {
        enum peer_status status = peer_next(t->peer);
        if (status == PEER_AGAIN)
            return;
        if (status == PEER_CLOSED)
            traced_disconnected(t);
        else if (status != PEER_MESSAGE || !session_message(s, t))
            session_break(s, t, status);
    }
}

static void session_accept(struct session *s)
{
    int fd, pid = 0;
    unsigned uid;
    while ((fd = listener_accept(s->listener, &pid, &uid)) >= 0) {
        bool is_main = pid == s->main_pid;
        struct traced *t = s->children || is_main ? traced_new(fd, pid, is_main) : NULL;
        if (!t && !s->children && !is_main)
            close(fd);
        if (t && !session_add(s, t))
            traced_free(t);
    }
}

/* --- checks
 * -------------------------------------------------------------------------------------------------------------
 */

static void start_checks(struct session *s)
{
    char result[160];
    for (unsigned i = 0; i < s->count && s->workers < s->worker_limit; i++) {
        if (s->traced[i]->state != TRACED_WAITING)
            continue;
        snprintf(result, sizeof(result), "%s/check.%u", s->listener->directory, s->serial++);
        s->workers += worker_start(s->traced[i], result, s->progress);
    }
}

/* One that stands in the queue is let go as it is: hundreds may stand there, each good for a tenth of a second.
 */
static void cancel_check(struct traced *t)
{
    static const char why[] = "the check was interrupted";
    if (t->state != TRACED_WAITING) {
        worker_cancel(t, why);
        return;
    }
    snprintf(t->why_not, sizeof(t->why_not), "%s", why);
    peer_send_done(t->fd, REC_NOT_CHECKED);
    t->state = TRACED_RUNNING;
}

static void cancel_checks(struct session *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->main_ended || s->traced[i]->is_main)
            cancel_check(s->traced[i]);
    s->cancelled |= s->main_ended;
}

/* --- signals and children
 * -------------------------------------------------------------------------------------------------- */

static void worker_reaped(struct session *s, pid_t pid, int status)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->traced[i]->state == TRACED_CHECKING && s->traced[i]->worker == pid) {
            worker_ended(s->traced[i], status);
            s->workers--;
            return;
        }
    }
}

static void reap(struct session *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != s->main_pid) {
            worker_reaped(s, pid, status);
            continue;
        }
        s->main_ended = true;
        s->main_status = status;
        s->deadline = say_monotonic_ms() + GRACE_MS;
    }
}

static void session_signals(struct session *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        if (info.ssi_code != SI_KERNEL && !s->main_ended)
            kill(s->main_pid, (int)info.ssi_signo);
        cancel_checks(s);
    }
    reap(s);
}

/* The program is reaped: what it sent before is read. A child that it forked just before holds the other end until
 * it has a connection of its own; a process that it made by a raw clone may hold it for ever, unchecked: so there is
 * a limit. */
static void close_main(struct session *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        struct traced *t = s->traced[i];
        if (!t->is_main)
            continue;
        session_read(s, t);
        if (t->state == TRACED_WAITING)
            snprintf(t->why_not, sizeof(t->why_not), "it was killed while it waited for its check");
        bool held = t->state == TRACED_RUNNING;
        if (held && !s->cancelled && say_monotonic_ms() < s->deadline)
            continue;
        s->still_running += held;
        if (t->state != TRACED_CHECKING && t->state != TRACED_GONE)
            traced_close(t);
    }
}

/* --- the loop
 * ------------------------------------------------------------------------------------------------------------------
 */

static bool is_over(const struct session *s)
{
    bool connected = false;
    if (!s->main_ended)
        return false;
    for (unsigned i = 0; i < s->count; i++) {
        if (s->traced[i]->state == TRACED_WAITING || s->traced[i]->state == TRACED_CHECKING)
            return false;
        connected |= s->traced[i]->state != TRACED_GONE;
    }
    return !connected || s->cancelled || say_monotonic_ms() >= s->deadline;
}

static bool wants_reading(const struct traced *t)
{
    return t->state == TRACED_SILENT || t->state == TRACED_RUNNING;
}

static int poll_descriptor(const struct traced *t)
{
    return t->state == TRACED_LOST ? t->pidfd : wants_reading(t) ? t->fd : -1;
}

/* It has connected again, but what it said is yet to be read. */
static bool has_more_to_say(const struct session *s, const struct traced *t)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->traced[i]->state == TRACED_SILENT && s->traced[i]->pid == t->pid)
            return true;
    return false;
}

/* A LOST process has ended. It may have connected anew before: so first its end is seen, then who is in the
 * queue, and only then it is known that nobody came. Of the main program the end of the run knows more. */
static void close_ended(struct session *s)
{
    bool any = false;
    for (unsigned i = 0; i < s->count; i++)
        any |= s->traced[i]->state == TRACED_LOST && traced_has_ended(s->traced[i]);
    if (!any)
        return;
    session_accept(s);
    for (unsigned i = 0; i < s->count; i++) {
        struct traced *t = s->traced[i];
        if (t->state != TRACED_LOST || t->pidfd >= 0 || has_more_to_say(s, t))
            continue;
        struct traced *unseen = traced_awaits_successor(t) && !t->is_main ? traced_unseen(t) : NULL;
        if (unseen)
            s->settled(s->ctx, unseen);
        traced_close(t);
    }
}

/* Sleep until something happens; false when there is no memory to ask with. */
static bool session_wait(struct session *s)
{
    struct pollfd *fds = calloc(s->count + 2, sizeof(*fds));
    if (!fds)
        return false;
    fds[0] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = s->listener->fd, .events = POLLIN};
    for (unsigned i = 0; i < s->count; i++)
        fds[i + 2] = (struct pollfd){.fd = poll_descriptor(s->traced[i]), .events = POLLIN};
    poll(fds, s->count + 2, s->main_ended ? 20 : -1);
    free(fds);
    return true;
}

static void session_step(struct session *s)
{
    session_signals(s);
    session_accept(s);
    for (unsigned i = 0; i < s->count; i++)
        if (wants_reading(s->traced[i]))
            session_read(s, s->traced[i]);
    if (s->main_ended)
        close_main(s);
    session_accept(s); /* who connected before the end that we have just read */
    close_ended(s);
    settle_gone(s);
    start_checks(s);
}

/* Daemons go on without us: their sockets end here, and at their own end they find nobody who listens. */
static void let_go(struct session *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        struct traced *t = s->traced[i];
        if (t == s->main_last)
            continue;
        s->still_running += t->state != TRACED_GONE;
        bool replaced = t->state == TRACED_LOST && t->target.reason == WIRE_AT_EXEC;
        traced_close(t);
        if (replaced)
            s->settled(s->ctx, t);
        else
            traced_free(t);
    }
    free(s->traced);
    s->traced = NULL;
    s->count = s->capacity = 0;
}

bool session_run(struct session *s)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    s->worker_limit = processors > 1 ? (unsigned)processors : 1;
    bool ok = true;
    session_step(s);
    while (ok && !is_over(s)) {
        ok = session_wait(s);
        session_step(s);
    }
    let_go(s);
    return ok;
}
