/* SPDX-License-Identifier: MIT */
#include "preload/freeze.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "allocator/allocator.h"
#include "preload/face.h"
#include "preload/kernel.h"
#include "preload/preload.h"
#include "preload/sandbox.h"
#include "preload/serve.h"
#include "preload/signals.h"
#include "preload/tasks.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

#define LOCK_STEP_MS 5u

/* Constant after freeze_start, but for the fields of a forked child. */
static struct {
    int32_t pid; /* 0: not started, or a child that does not report */
    bool recording;
    int signal;
    uint32_t static_tls_size;
    uint64_t own_start, own_end;
    uint64_t inherited_events; /* of the recorder's, when this process was forked */
} freeze;

static struct channel channel = CHANNEL_CLOSED; /* freeze lock */
static uint32_t lock_owner;                     /* tid of the holder, 0: free; any thread */
static uint32_t lock_waiting;                   /* how many wait for it; any thread, by addition */

bool freeze_is_ours(void)
{
    return freeze.pid && freeze.recording && freeze.pid == kernel_pid();
}

/* --- the lock ------------------------------------------------------------------------------------------- */

/* A thread that waits inside the library holds nothing yet (first in the lock order): it may be parked here.
 */
static void park_while_waiting(const struct thread_slot *here)
{
    if (here) {
        park_stand(here);
    } else if (thread_flags.parked & DUE_PARK) {
        struct thread_slot slot;
        thread_flags.parked &= ~DUE_PARK;
        slot_from_here(&slot);
        park_stand(&slot);
    }
}

static bool try_lock(uint32_t self, uint32_t *ret_owner)
{
    *ret_owner = 0;
    return __atomic_compare_exchange_n(&lock_owner, ret_owner, self, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

bool freeze_lock(const struct thread_slot *here)
{
    uint32_t self = (uint32_t)kernel_tid(), owner;
    if (try_lock(self, &owner))
        return true;
    if (owner == self)
        return false;
    __atomic_add_fetch(&lock_waiting, 1, __ATOMIC_RELAXED);
    do {
        park_while_waiting(here);
        kernel_futex_wait(&lock_owner, owner, LOCK_STEP_MS);
    } while (!try_lock(self, &owner));
    __atomic_sub_fetch(&lock_waiting, 1, __ATOMIC_RELAXED);
    kernel_futex_wake(&lock_waiting, INT_MAX);
    return true;
}

void freeze_unlock(void)
{
    __atomic_store_n(&lock_owner, 0, __ATOMIC_RELEASE);
    kernel_futex_wake(&lock_owner, INT_MAX);
}

/* --- the signal ----------------------------------------------------------------------------------------- */

static bool is_request(const siginfo_t *info, uint64_t value)
{
    return info->si_code == SI_QUEUE && (uintptr_t)info->si_value.sival_ptr == value;
}

/* One store: wherever the signal found the thread. */
static bool record_as_told(const siginfo_t *info)
{
    bool on = is_request(info, WIRE_RECORD_ON_VALUE), off = is_request(info, WIRE_RECORD_OFF_VALUE);
    if (on || off)
        record_pause(off);
    return on || off;
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    bool request = is_request(info, WIRE_SNAPSHOT_VALUE);
    if (record_as_told(info))
        return;
    if (thread_flags.inside) {
        thread_flags.parked |= request ? DUE_SNAPSHOT : DUE_PARK;
        return;
    }
    struct thread_slot here;
    slot_from_context(context, &here);
    if (request)
        snapshot_take(&here);
    else
        park_stand(&here);
}

static const struct kernel_action our_action = {
    .handler = (void *)(uintptr_t)on_signal,
    .flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
    .mask = KERNEL_EVERY_SIGNAL,
};

static bool is_default(const struct kernel_action *action)
{
    return action->handler == (void *)(uintptr_t)SIG_DFL || action->handler == (void *)(uintptr_t)SIG_IGN;
}

/* The program may have changed the handler since. What it set is put back behind the freeze, unless that is
 * the default: a signal that comes late would then end the program. */
static void signal_take(int signal, struct kernel_action *ret_theirs)
{
    kernel_action_get(signal, ret_theirs);
    if (ret_theirs->handler != our_action.handler)
        kernel_action_set(signal, &our_action);
}

static void signal_give_back(int signal, const struct kernel_action *theirs)
{
    if (theirs->handler != our_action.handler && !(is_default(theirs) && signal == freeze.signal))
        kernel_action_set(signal, theirs);
}

/* Another library was here first: it keeps the signal, and there are no snapshots on request; to park, it is borrowed. */
static void signal_install(void)
{
    struct kernel_action theirs;
    if (kernel_action_get(freeze.signal, &theirs) && is_default(&theirs))
        kernel_action_set(freeze.signal, &our_action);
    else
        channel_send_text(&channel, "the signal for snapshots is in use by the program (HEAPTALLY=signal=)");
}

/* Debuggers stop at a real-time signal that they do not know; SIGURG they pass on in silence, and by default
 * it does nothing, so that even a late one is harmless. */
static int signal_to_park_with(void)
{
    return task_look(kernel_tid(), freeze.signal).traced ? SIGURG : freeze.signal;
}

void freeze_park_here(void)
{
    uint32_t due = __atomic_exchange_n(&thread_flags.parked, 0, __ATOMIC_RELAXED);
    if (due & (DUE_PARK | DUE_SNAPSHOT)) {
        struct thread_slot here;
        uint64_t mask = kernel_mask_set(KERNEL_EVERY_SIGNAL);
        slot_from_here(&here);
        if (due & DUE_PARK)
            park_stand(&here);
        if (due & DUE_SNAPSHOT)
            snapshot_take(&here);
        kernel_mask_set(mask);
    }
    if (due & DUE_SIGNALS)
        signals_let_in();
    if (due & DUE_FATAL)
        ways_out_raise_due();
}

/* --- what the companion is told ------------------------------------------------------------------------- */

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t events_recorded(void)
{
    return record_is_on() ? record_events() : 0;
}

static void describe_process(const struct freeze_how *how, struct wire_target *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->reason = how->reason;
    ret->status = how->status;
    ret->pid = freeze.pid;
    ret->tid = kernel_tid();
    ret->alloc_root = (uintptr_t)alloc_root();
    ret->record_root = (uintptr_t)record_root_of();
    ret->static_tls_size = freeze.static_tls_size;
    ret->own_start = freeze.own_start;
    ret->own_end = freeze.own_end;
    ret->annotations = annotations_address();
    /* Less than were inherited: the child has begun to count anew, for a trace of its own. */
    uint64_t events = events_recorded();
    ret->own_allocations = events >= freeze.inherited_events ? events - freeze.inherited_events : events;
}

static void describe_missing(const struct park_result *parked, char *note, size_t size)
{
    note[0] = '\0';
    if (parked->unlisted) {
        text_add(note, size, 0, "the other threads could not be stopped: /proc/self/task cannot be read");
        return;
    }
    if (!parked->left && !parked->missed)
        return;
    size_t at = text_add_number(note, size, 0, parked->left + parked->missed);
    at = text_add(note, size, at, " thread(s) could not be stopped: ");
    if (parked->left)
        at = text_add(note, size, at, "the parking signal is blocked there, or they did not answer in time");
    if (parked->missed)
        text_add(note, size, at, parked->left ? "; no memory for others" : "no memory to list them");
}

void freeze_describe(const struct freeze_how *how, struct wire_target *ret, char *note, size_t note_size)
{
    uint64_t started = now_us();
    int signal = signal_to_park_with();
    struct park_request request = {how->self, signal, settings_get()->park_ms, how->may_lock};
    struct park_result parked;
    struct kernel_action theirs;
    signal_take(signal, &theirs);
    park_others(&request, &parked);
    signal_give_back(signal, &theirs);
    describe_process(how, ret);
    ret->frozen_ms = now_us() / 1000;
    ret->threads = (uintptr_t)parked.slots;
    ret->thread_count = parked.count;
    ret->frozen_us = now_us() - started;
    describe_missing(&parked, note, note_size);
}

void freeze_allow_reader(const struct channel *to)
{
    kernel_call(SYS_prctl, PR_SET_PTRACER, to->peer_pid > 0 ? to->peer_pid : -1L, 0);
}

/* --- the connection ------------------------------------------------------------------------------------- */

static void program_name(char *name, size_t size)
{
    static char path[PRELOAD_PATH_MAX]; /* freeze lock, or one thread */
    long n = kernel_call(SYS_readlink, (long)"/proc/self/exe", (long)path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *base = strrchr(path, '/');
    text_add(name, size, 0, base ? base + 1 : path);
}

static bool say_hello(const char *why_not)
{
    struct wire_hello hello = {.pid = freeze.pid, .tid = kernel_tid(), .recording = freeze.recording};
    const struct record_root *root = record_root_of();
    hello.parent = (int32_t)kernel_call(SYS_getppid, 0, 0, 0);
    hello.generation = root ? root->generation : 0;
    program_name(hello.program, sizeof(hello.program));
    return channel_send(&channel, WIRE_HELLO, &hello, sizeof(hello)) &&
           (!why_not || channel_send_text(&channel, why_not));
}

static bool connect_to_companion(const char *why_not)
{
    const char *path = settings_get()->socket;
    if (!path[0] || !channel_open(&channel, path))
        return false;
    if (say_hello(why_not))
        return true;
    channel_close(&channel);
    return false;
}

/* --- the check ------------------------------------------------------------------------------------------ */

static void check_frozen(const struct freeze_how *how)
{
    struct wire_target target;
    char note[160];
    freeze_describe(how, &target, note, sizeof(note));
    freeze_allow_reader(&channel);
    bool done = !note[0] || channel_send_text(&channel, note);
    done = done && channel_send(&channel, WIRE_CHECK, &target, sizeof(target)) && serve(&channel);
    kernel_call(SYS_prctl, PR_SET_PTRACER, 0, 0);
    park_release();
    if (!done)
        channel_close(&channel);
}

/* The program's frame that called exit, or at least our own. */
static void find_self(struct thread_slot *ret, bool may_walk)
{
    struct record_frame frame;
    slot_from_here(ret);
    if (may_walk && record_exit_frame(&frame)) {
        ret->ip = frame.ip;
        memcpy(ret->registers, frame.registers, sizeof(ret->registers));
        ret->live_registers = frame.live_registers;
    }
    ret->state = THREAD_SELF;
}

/* A handler that interrupted malloc in this very thread and ends the program: locks of ours may be held
 * below. */
static void check_locked(enum wire_reason reason, int status, const struct thread_slot *self)
{
    struct thread_slot slot;
    struct freeze_how how = {reason, status, &slot, thread_enter()};
    struct sandbox sandbox;
    uint64_t mask = kernel_mask_set(KERNEL_EVERY_SIGNAL);
    sandbox_enter(&sandbox);
    if (self) {
        slot = *self;
        slot.state = THREAD_SELF;
    } else {
        find_self(&slot, how.may_lock);
    }
    if (channel_is_open(&channel) || connect_to_companion(NULL))
        check_frozen(&how);
    sandbox_leave(&sandbox);
    kernel_mask_set(mask);
    freeze_unlock();
    thread_leave();
}

void freeze_check_from(enum wire_reason reason, int status, const struct thread_slot *self)
{
    if (freeze_is_ours() && settings_get()->socket[0] && freeze_lock(self))
        check_locked(reason, status, self);
}

void freeze_check(enum wire_reason reason, int status)
{
    freeze_check_from(reason, status, NULL);
}

/* --- start, fork ---------------------------------------------------------------------------------------- */

/* The loader's own count of the static TLS of every thread. It is private to the C library: absent, it is not
 * known. */
static uint32_t find_static_tls_size(void)
{
    size_t size = 0, alignment = 0;
    void (*info)(size_t *, size_t *) = NULL;
    *(void **)&info = dlsym(RTLD_DEFAULT, "_dl_get_tls_static_info");
    if (info)
        info(&size, &alignment);
    return (uint32_t)size;
}

/* Weak: glibc's own. A program of another C library, which could not load us otherwise, never comes that far. */
#pragma weak _dl_find_object

static void find_own_image(void)
{
    struct dl_find_object found;
    if (_dl_find_object((void *)(uintptr_t)freeze_start, &found) != 0)
        return;
    freeze.own_start = (uintptr_t)found.dlfo_map_start;
    freeze.own_end = (uintptr_t)found.dlfo_map_end;
}

void freeze_start(bool recording, const char *why_not)
{
    find_own_image();
    freeze.static_tls_size = find_static_tls_size();
    freeze.recording = recording;
    freeze.pid = kernel_pid();
    freeze.signal = settings_get()->signal;
    connect_to_companion(why_not);
    if (!recording)
        return;
    signal_install();
    ways_out_start();
}

/* Forks by signal handlers in the middle of their thread's own fork; freeze lock. */
static uint32_t nested_forks;

/* Who waits for the lock already comes first: a thread that forks all the time would else have it again before anybody is awake,
 * and an exit could wait for ever. It takes a step at most, as who waited in a child's parent never comes. */
void freeze_fork_wait(void)
{
    uint32_t self = (uint32_t)kernel_tid(), owner, waiting = __atomic_load_n(&lock_waiting, __ATOMIC_RELAXED);
    if (waiting != 0 && __atomic_load_n(&lock_owner, __ATOMIC_RELAXED) != self)
        kernel_futex_wait(&lock_waiting, waiting, LOCK_STEP_MS);
    while ((owner = __atomic_load_n(&lock_owner, __ATOMIC_RELAXED)) != 0 && owner != self)
        kernel_futex_wait(&lock_owner, owner, LOCK_STEP_MS);
}

bool freeze_fork_prepare(void)
{
    uint32_t owner, self = (uint32_t)kernel_tid();
    if (try_lock(self, &owner))
        return true;
    nested_forks += owner == self;
    return owner == self;
}

void freeze_fork_parent(void)
{
    if (nested_forks)
        nested_forks--;
    else
        freeze_unlock();
}

/* The parent's connection must end with the parent: its end is closed here. But not before there is one of our
 * own, or the companion would see the end of a parent, and know of no child. */
static void replace_inherited(void)
{
    struct channel inherited = channel;
    channel = (struct channel)CHANNEL_CLOSED;
    bool connected = freeze.pid && connect_to_companion(NULL);
    channel_close(&inherited);
    if (freeze.pid && !connected) /* there is a descriptor more now */
        connect_to_companion(NULL);
}

void freeze_fork_child(void)
{
    park_forget();
    nested_forks = lock_waiting = 0;
    freeze.pid = settings_get()->children ? kernel_pid() : 0;
    freeze_unlock();
    freeze.inherited_events = events_recorded();
    replace_inherited();
}
