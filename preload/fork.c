/* SPDX-License-Identifier: MIT */
/*
 * The lock order, which fork walks: channel, record, allocator. The child takes them back innermost first.
 *
 * Handlers registered first run last before the fork and first after it: ours are registered by the first
 * malloc of the process, so that all of the program's handlers may allocate. vfork and posix_spawn run no
 * handlers and share the memory: nothing here looks at process ids.
 *
 * Signals wait in between: a handler on this thread that forks, as glibc's own tests have one, would wait for the
 * locks that this fork holds, or go through their half-way state.
 */
#include "preload/face.h"

#include <dlfcn.h>

#include "preload/account.h"
#include "preload/kernel.h"
#include "preload/preload.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

/* Own thread. A fork by a handler that comes before the signals wait is over before this one begins. */
static __thread uint64_t signals_before;

/* Inside from prepare to the end of the handlers: a parking request waits until no lock of ours is held. */
static void fork_prepare(void)
{
    signals_before = kernel_mask_set(KERNEL_EVERY_SIGNAL);
    thread_enter();
    if (face_state.freezing)
        freeze_fork_prepare();
    if (face_state.recording)
        record_fork_prepare();
    alloc_fork_prepare();
}

static void fork_parent(void)
{
    alloc_fork_parent();
    if (face_state.recording)
        record_fork_parent();
    if (face_state.freezing)
        freeze_fork_parent();
    thread_leave();
    kernel_mask_set(signals_before);
}

static void fork_child(void)
{
    /* A request that was on its way to this thread was the parent's. */
    thread_flags.parked = 0;
    alloc_fork_child();
    account_fork_child();
    if (face_state.recording)
        record_fork_child();
    if (face_state.freezing)
        freeze_fork_child();
    thread_leave();
    kernel_mask_set(signals_before);
}

/* What glibc's pthread_atfork() is inside of the caller. Weak, so that a program of another C library, a child of one
 * that was to be looked at for instance, can load us: it has a pthread_atfork() of its own. */
extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

void fork_start(void)
{
    if (__register_atfork) {
        __register_atfork(fork_prepare, fork_parent, fork_child, __dso_handle);
        return;
    }
    int (*at_fork)(void (*)(void), void (*)(void), void (*)(void)) = NULL;
    *(void **)&at_fork = dlsym(RTLD_DEFAULT, "pthread_atfork");
    if (at_fork)
        at_fork(fork_prepare, fork_parent, fork_child);
}
