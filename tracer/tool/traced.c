/* SPDX-License-Identifier: MIT */
#include "tracer/tool/traced.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "tracer/tool/procfs.h"
#include "tracer/tool/say.h"

#define NOTES_MAX 16u /* a target that talks on is not listened to */

struct traced *traced_new(int fd, int pid, bool is_main)
{
    struct traced *t = calloc(1, sizeof(*t));
    struct peer *peer = t ? malloc(sizeof(*peer)) : NULL;
    if (!peer) {
        free(t);
        close(fd);
        return NULL;
    }
    peer_start(peer, fd);
    t->fd = fd;
    t->peer = peer;
    t->pidfd = -1;
    t->pid = t->shown_pid = pid;
    t->is_main = is_main;
    t->started = say_calendar_ms();
    return t;
}

void traced_close(struct traced *t)
{
    if (t->fd >= 0)
        close(t->fd);
    if (t->pidfd >= 0)
        close(t->pidfd);
    t->fd = t->pidfd = -1;
    free(t->peer); /* thousands may be gone and remembered */
    t->peer = NULL;
    t->state = TRACED_GONE;
}

/* A pidfd is readable from the moment on when its process has ended. */
bool traced_has_ended(struct traced *t)
{
    struct pollfd fd = {.fd = t->pidfd, .events = POLLIN};
    if (fd.fd >= 0 && poll(&fd, 1, 0) == 0)
        return false;
    if (fd.fd >= 0)
        close(fd.fd);
    t->pidfd = -1;
    return true;
}

bool traced_awaits_successor(const struct traced *t)
{
    return t->target.reason == WIRE_AT_EXEC && !t->succeeded;
}

/* It has said HELLO and is yet to connect again: as it is, unchecked, or as the image behind its exec. */
static bool is_unfinished(const struct traced *t)
{
    if (t->state != TRACED_RUNNING || t->pid == 0 || t->succeeded)
        return false;
    return t->target.reason == WIRE_AT_EXEC || !(t->result[0] || t->why_not[0]);
}

void traced_disconnected(struct traced *t)
{
    char path[4096];
    bool unfinished = is_unfinished(t);
    traced_close(t);
    if (!unfinished)
        return;
    t->pidfd = pidfd_open(t->pid, 0);
    if (t->pidfd < 0 && errno != ESRCH)
        return; /* nobody can say when it ends: it is taken as it is */
    t->state = TRACED_LOST;
    bool ended = traced_has_ended(t);
    if (!traced_awaits_successor(t)) {
        t->state = ended ? TRACED_GONE : TRACED_LOST;
    } else if (!ended && procfs_executable(t->pid, path, sizeof(path))) {
        /* An exec replaces the executable before it closes our socket. */
        free(t->became);
        t->became = strdup(path);
    }
}

struct traced *traced_unseen(const struct traced *before)
{
    struct traced *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->state = TRACED_GONE;
    t->fd = t->pidfd = -1;
    t->pid = t->shown_pid = before->pid;
    t->hello = before->hello;
    t->started = before->started;
    t->program = strdup(before->program);
    t->command = strdup(before->command);
    snprintf(t->why_not, sizeof(t->why_not),
             "it went on as %.120s, which did not load libheaptally.so (static, set-uid, of another "
             "architecture, or without our environment?)",
             before->became ? before->became : "another program");
    if (t->program && t->command)
        return t;
    traced_free(t);
    return NULL;
}

void traced_free(struct traced *t)
{
    if (!t)
        return;
    traced_close(t);
    if (t->result[0])
        unlink(t->result);
    for (unsigned i = 0; i < t->notes_count; i++)
        free(t->notes[i]);
    free(t->notes);
    free(t->program);
    free(t->command);
    free(t->became);
    free(t);
}

bool traced_hello(struct traced *t, const struct wire_hello *hello, const char *program, const char *command)
{
    char path[4096];
    t->hello = *hello;
    t->state = TRACED_RUNNING;
    free(t->program);
    free(t->command);
    if (!program && t->pid && procfs_executable(t->pid, path, sizeof(path)))
        program = path;
    t->program = strdup(program ? program : hello->program);
    t->command = command ? strdup(command) : t->pid ? procfs_command(t->pid) : NULL;
    if (!t->command && t->program)
        t->command = strdup(t->program);
    return t->program && t->command;
}

void traced_note(struct traced *t, const char *text)
{
    if (!t->notes)
        t->notes = calloc(NOTES_MAX, sizeof(*t->notes));
    if (!t->notes || t->notes_count == NOTES_MAX)
        return;
    size_t length = strcspn(text, "\n");
    char *line = strndup(text, length);
    if (!line)
        return;
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?'; /* the terminal obeys what it is sent */
    t->notes[t->notes_count++] = line;
}

struct recording *traced_recording(const struct traced *t)
{
    struct recording *rec = recording_new();
    if (!rec)
        return NULL;
    struct rec_meta *meta = &rec->meta;
    bool ok = recording_set(&meta->program, t->program ? t->program : "?") &&
              recording_set(&meta->command, t->command ? t->command : "") &&
              recording_set(&meta->tool_version, HEAPTALLY_VERSION);
    meta->pid = t->shown_pid ? t->shown_pid : t->hello.pid;
    meta->parent = t->hello.parent;
    meta->generation = t->hello.generation;
    meta->started = t->started;
    meta->checked = say_calendar_ms();
    meta->verdict = REC_NOT_CHECKED;
    for (unsigned i = 0; ok && i < t->notes_count; i++)
        ok = recording_add_note(rec, t->notes[i]);
    if (ok)
        return rec;
    recording_free(rec);
    return NULL;
}

bool traced_was_checked(const struct traced *t)
{
    return t->result[0] && t->verdict != REC_NOT_CHECKED;
}
