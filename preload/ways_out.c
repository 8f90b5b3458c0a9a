/* SPDX-License-Identifier: MIT */
/*
 * The ways out of a process, each with its check.
 *
 *    exit, return from main, last thread gone   on_exit, registered by our constructor: it runs behind all of
 * the program's handlers and destructors, and before stdio is flushed quick_exit the same on its own list
 *    _exit, _Exit                               exported
 *    fatal signals                              a handler where the program has none, then the signal again
 *    exec                                       ways_exec.c
 *
 * Not seen: _exit called by the C library itself (daemon()), system calls made by hand, SIGKILL. The
 * companion sees the connection end then.
 */
#include "preload/freeze.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "preload/face.h"
#include "preload/kernel.h"
#include "preload/preload.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

static void at_exit(int status, void *unused)
{
    (void)unused;
    freeze_check(WIRE_AT_EXIT, status);
}

/* glibc hands the status to handlers of this kind as a second argument. */
static void at_quick_exit_with(void *unused, int status)
{
    (void)unused;
    freeze_check(WIRE_AT_QUICK_EXIT, status);
}

static _Noreturn void end_process(int status)
{
    if (settings_get()->exit_check)
        freeze_check(WIRE_AT_FAST_EXIT, status);
    if (face_state.recording)
        record_end(RECORD_ENDS, settings_get()->trace_keep);
    for (;;)
        kernel_call(SYS_exit_group, status, 0, 0);
}

EXPORT void _exit(int status)
{
    end_process(status);
}

EXPORT void _Exit(int status)
{
    end_process(status);
}

/* --- fatal signals -------------------------------------------------------------------------------------- */

static uint32_t due_signal; /* waits for its thread to leave the library; any thread */

/* The instruction that faulted will fault again. */
static bool is_fault(int signal, const siginfo_t *info)
{
    return info->si_code > 0 &&
           (kernel_signal_bit(signal) &
            (kernel_signal_bit(SIGSEGV) | kernel_signal_bit(SIGBUS) | kernel_signal_bit(SIGFPE) |
             kernel_signal_bit(SIGILL) | kernel_signal_bit(SIGTRAP)));
}

/* As if we had never been there: the core, if any, shows the frame that the signal met, and its sender. */
static void die_of(int signal, siginfo_t *info)
{
    const struct kernel_action standard = {.handler = (void *)(uintptr_t)SIG_DFL};
    kernel_action_set(signal, &standard);
    if (is_fault(signal, info))
        return;
    if (kernel_call4(SYS_rt_tgsigqueueinfo, kernel_pid(), kernel_tid(), signal, (long)info) != 0)
        kernel_call(SYS_tgkill, kernel_pid(), kernel_tid(), signal);
}

static void on_fatal(int signal, siginfo_t *info, void *context)
{
    if (!freeze_is_ours()) {
        die_of(signal, info);
    } else if (!thread_flags.inside) {
        struct thread_slot here;
        slot_from_context(context, &here);
        freeze_check_from(WIRE_AT_SIGNAL, signal, &here);
        die_of(signal, info);
    } else if (is_fault(signal, info) || signal == SIGABRT) {
        die_of(signal,
               info); /* inside the allocator itself: nothing that we could look at is to be trusted */
    } else {
        __atomic_store_n(&due_signal, (uint32_t)signal, __ATOMIC_RELAXED);
        thread_flags.parked |= DUE_FATAL;
    }
}

void ways_out_raise_due(void)
{
    kernel_call(SYS_tgkill, kernel_pid(), kernel_tid(), __atomic_load_n(&due_signal, __ATOMIC_RELAXED));
}

static void catch_fatal(int signal)
{
    const struct kernel_action ours = {.handler = (void *)(uintptr_t)on_fatal,
                                       .flags = SA_SIGINFO | SA_ONSTACK,
                                       .mask = KERNEL_EVERY_SIGNAL};
    struct kernel_action theirs;
    if (kernel_action_get(signal, &theirs) && theirs.handler == (void *)(uintptr_t)SIG_DFL)
        kernel_action_set(signal, &ours);
}

/* --- start ---------------------------------------------------------------------------------------------- */

/* Weak: glibc's own. A program of another C library, which could not load us otherwise, never comes here. */
#pragma weak on_exit
#pragma weak __cxa_at_quick_exit
int __cxa_at_quick_exit(void (*function)(void *), void *dso);

void ways_out_start(void)
{
    if (!settings_get()->exit_check || !settings_get()->socket[0])
        return;
    on_exit(at_exit, NULL);
    __cxa_at_quick_exit((void (*)(void *))(void *)at_quick_exit_with, NULL);
    for (int signal = 1; signal < SIGRTMIN; signal++) {
        if (settings_get()->fatal_signals & kernel_signal_bit(signal))
            catch_fatal(signal);
    }
}
