/* SPDX-License-Identifier: MIT */
#include "preload/face.h"
#include "preload/freeze.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/allocator.h"
#include "preload/account.h"
#include "preload/foreign.h"
#include "preload/freed.h"
#include "preload/harden.h"
#include "preload/misuse.h"
#include "preload/settings.h"
#include "preload/signals.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

#define VARIABLE       "HEAPTALLY="
#define VARIABLE_BYTES (sizeof(VARIABLE) - 1)
#define TEXT_MAX       8192u

struct face_state face_state;

bool preload_is_recording(void)
{
    return face_state.recording;
}

/* --- finding the variable ------------------------------------------------------------------------ */

/* The loader mallocs before the C library's constructor has set `environ`. The kernel's copy of the
 * environment is then the only one there is; it is read by raw calls, a piece at a time, since it may be
 * megabytes long. */
struct environ_reader {
    int fd;
    size_t have, next;
    char piece[2048];
};

/* The next byte of the kernel's copy, -1 at its end. */
static int reader_byte(struct environ_reader *reader)
{
    if (reader->next == reader->have) {
        long n = syscall(SYS_read, reader->fd, reader->piece, sizeof(reader->piece));
        if (n <= 0)
            return -1;
        reader->have = (size_t)n;
        reader->next = 0;
    }
    return (unsigned char)reader->piece[reader->next++];
}

/* Reads one entry; true when it is ours, with the value in text. *ret_more: there may be another one. */
static bool reader_entry(struct environ_reader *reader, char *text, bool *ret_more)
{
    size_t at = 0;
    bool ours = true;
    int byte;
    while ((byte = reader_byte(reader)) > 0) {
        if (at < VARIABLE_BYTES)
            ours = ours && byte == VARIABLE[at];
        else if (ours && at - VARIABLE_BYTES < TEXT_MAX - 1)
            text[at - VARIABLE_BYTES] = (char)byte;
        at++;
    }
    *ret_more = byte == 0;
    if (!ours || at < VARIABLE_BYTES)
        return false;
    at -= VARIABLE_BYTES;
    text[at < TEXT_MAX ? at : TEXT_MAX - 1] = '\0';
    return true;
}

static bool text_from_kernel(char *text)
{
    struct environ_reader reader = {
        .fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/environ", O_RDONLY | O_CLOEXEC)};
    bool more = reader.fd >= 0, found = false;
    while (more && !found)
        found = reader_entry(&reader, text, &more);
    if (reader.fd >= 0)
        syscall(SYS_close, reader.fd);
    return found;
}

static bool text_from_environ(char *text)
{
    for (char **entry = environ; *entry; entry++) {
        if (strncmp(*entry, VARIABLE, VARIABLE_BYTES) == 0) {
            size_t length = strnlen(*entry + VARIABLE_BYTES, TEXT_MAX - 1);
            memcpy(text, *entry + VARIABLE_BYTES, length);
            text[length] = '\0';
            return true;
        }
    }
    return false;
}

/* --- the first call ------------------------------------------------------------------------------ */

static void say(struct line *line)
{
    line_write(line, STDERR_FILENO);
}

/* Counting and hardening both want to be what fills a block's entry: harden=1 wins. */
static bool may_account(const struct settings *settings)
{
    struct line line;
    if (settings->record || !settings->account[0] || face_state.accounting)
        return false;
    if (settings->harden) {
        line_start(&line, "heaptally: account= counts nothing with harden=1");
        say(&line);
    }
    return !settings->harden;
}

static void settings_apply(const struct settings *settings)
{
    alloc_set_decay(settings->decay_ms);
    alloc_on_corruption(misuse_corruption);
    if (may_account(settings))
        face_state.accounting = face_state.watched = account_start(settings->account);
    if (settings->record || settings->harden || face_state.accounting) {
        alloc_keep_ledger();
        alloc_intercept(true);
    }
    if (settings->harden && !face_state.hardened) {
        harden_start((uint64_t)settings->quarantine_kib << 10);
        face_state.hardened = face_state.watched = true;
    }
}

/* true when the environment could be looked at. */
static COLD bool settings_read(void)
{
    /* Not on the stack, of which it would be the deepest page that a small program has. Most have no such variable. */
    static char text[TEXT_MAX] __attribute__((section(".bss.long")));
    struct settings *settings = settings_storage();
    if (environ ? text_from_environ(text) : text_from_kernel(text)) {
        settings_parse(text, settings, say);
        if (settings->help)
            settings_help(say);
        return true;
    }
    return environ != NULL;
}

/* Set when the first call found neither `environ` nor /proc: the constructor tries again. */
static bool settings_are_due;

void start_first_call(void)
{
    static bool taken;
    if (__atomic_exchange_n(&taken, true, __ATOMIC_ACQ_REL))
        return;
    int saved = errno;
    settings_defaults(settings_storage());
    settings_are_due = !settings_read();
    settings_apply(settings_storage());
    foreign_start();
    thread_start();
    fork_start();
    errno = saved;
    __atomic_store_n(&face_state.started, true, __ATOMIC_RELEASE);
}

/* --- the constructor ----------------------------------------------------------------------------- */

static void say_why_not(const char *why)
{
    struct line line;
    line_start(&line, "heaptally: recording could not start: ");
    line_text(&line, why);
    line_text(&line, "; the program runs on");
    say(&line);
}

/* Both are glibc's own (2.32, 2.35), and weak: a dynamic program of another C library ends with 127 before it begins
 * when a name of a preloaded library is missing. It gets the allocator, and no recording. */
#pragma weak __libc_single_threaded
#pragma weak _dl_find_object

static bool c_library_is_glibc(void)
{
    return &__libc_single_threaded != NULL && _dl_find_object != NULL;
}

static void ignore_block(void *p)
{
    struct alloc_block block = {0};

    if (alloc_find(p, &block) == ALLOC_OK && block.ledger)
        ((struct ledger_entry *)block.ledger)->flags |= LEDGER_IGNORED;
}

static void say_no_trace(const char *why)
{
    struct line line;
    line_start(&line, "heaptally: no trace at ");
    line_text(&line, settings_get()->trace);
    line_text(&line, ": ");
    line_text(&line, why);
    line_text(&line, "; recording goes on without");
    say(&line);
}

/* What libunwind allocates while it is loaded is the library's own affair: "inside" keeps it out of the
 * record. */
static bool recording_start(const char **ret_why)
{
    struct record_config config = {.depth_limit = settings_get()->depth,
                                   .check_stacks = settings_get()->check_stacks,
                                   .own_block = ignore_block,
                                   .sample = (uint64_t)settings_get()->sample,
                                   .paused = settings_get()->record == RECORD_WHEN_TOLD,
                                   .trace = settings_get()->trace,
                                   .say_no_trace = say_no_trace};
    thread_enter();
    bool started = record_start(&config, ret_why);
    thread_leave();
    return started;
}

__attribute__((constructor)) static void preload_begin(void)
{
    start_first_call();
    delete_start();
    signals_start();
    cancel_start();
    fork_find_next();
    if (settings_are_due && environ) {
        settings_read();
        settings_apply(settings_storage());
    }
    if (settings_get()->record || face_state.watched)
        fork_need();
    if (!settings_get()->record)
        return;
    if (!c_library_is_glibc()) {
        say_why_not("the C library of this program is not glibc, 2.35 or later");
        return;
    }
    int saved = errno;
    const char *why = NULL;
    if (recording_start(&why)) {
        freed_keep_all();
        face_state.free_stacks = settings_get()->free_stacks;
        face_state.plainly_recording = !face_state.hardened;
        __atomic_store_n(&face_state.recording, true, __ATOMIC_RELEASE);
        __atomic_store_n(&face_state.watched, true, __ATOMIC_RELEASE);
    } else {
        why = why ? why : "no reason given";
        say_why_not(why);
        if (__libc_single_threaded && !face_state.hardened)
            alloc_intercept(false);
    }
    freeze_start(face_state.recording, why);
    __atomic_store_n(&face_state.freezing, true, __ATOMIC_RELEASE);
    errno = saved;
}

static COLD void say_checked(void)
{
    uint64_t checks, mismatches;
    struct line line;
    record_checked(&checks, &mismatches);
    line_start(&line, "heaptally: check_stacks: ");
    line_number(&line, (int64_t)checks);
    line_text(&line, " stacks compared, ");
    line_number(&line, (int64_t)mismatches);
    line_text(&line, " differ");
    say(&line);
}

/* After the program's own destructors, as far as the loader's order allows. */
__attribute__((destructor)) static void preload_end(void)
{
    if (face_state.accounting)
        account_end();
    if (face_state.recording && settings_get()->check_stacks)
        say_checked();
    if (face_state.recording)
        record_end(RECORD_ENDS, settings_get()->trace_keep);
}
