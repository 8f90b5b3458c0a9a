/* SPDX-License-Identifier: MIT */
/*
 * The lock order, which fork walks: channel, record, allocator. The child takes them back innermost first.
 *
 * Handlers registered first run last before the fork and first after it: ours come before all of the program's, which
 * may then allocate. vfork and posix_spawn run no handlers and share the memory: nothing here looks at process ids.
 *
 * When they are registered: the C library's part of that is pages that a small program has no other use for, and one
 * that neither forks nor has a second thread needs no handlers. So it waits for whichever is first of
 *
 *   a recording, harden=1 or account=    by the constructor
 *   fork, daemon, forkpty                exported: this very fork runs them
 *   a handler of somebody else's         __register_atfork is exported, which is all that pthread_atfork() calls
 *   a second thread                      pthread_create is exported, for forks past our names: by the C library itself,
 *                                        or dlsym() on its handle. Until then they find no lock taken
 *   a second thread past that name       its first slow call. Left open: a fork past our names at this very moment
 *
 * Signals wait in between: a handler on this thread that forks, as glibc's own tests have one, would wait for the
 * locks that this fork holds, or go through their half-way state.
 *
 * glibc's fork takes the lock of the list of streams after the handlers, and its own malloc's after that. With ours taken
 * before it, three threads could wait in a circle: fork for the list, which fflush(NULL) has, which waits for a stream,
 * whose owner waits in malloc. So the list's lock comes first here, too: it is recursive, and exported.
 */
#include "preload/face.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <pthread.h>
#include <pty.h>
#include <unistd.h>

#include "allocator/platform.h"
#include "preload/account.h"
#include "preload/kernel.h"
#include "preload/preload.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

/* Weak: glibc's only. */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

static bool streams_have_a_lock(void)
{
    return _IO_list_lock && _IO_list_unlock && _IO_list_resetlock;
}

/* Own thread. A fork by a handler that comes before the signals wait is over before this one begins. */
static __thread uint64_t signals_before;

/* Inside from prepare to the end of the handlers: a parking request waits until no lock of ours is held. */
static void fork_prepare(void)
{
    for (;;) {
        if (face_state.freezing)
            freeze_fork_wait();
        signals_before = kernel_mask_set(KERNEL_EVERY_SIGNAL);
        if (streams_have_a_lock())
            _IO_list_lock();
        thread_enter();
        if (!face_state.freezing || freeze_fork_prepare())
            break;
        thread_leave();
        if (streams_have_a_lock())
            _IO_list_unlock();
        kernel_mask_set(signals_before);
    }
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
    if (streams_have_a_lock())
        _IO_list_unlock();
    kernel_mask_set(signals_before);
}

static void fork_child(void)
{
    /* A request that was on its way to this thread was the parent's. */
    thread_flags.parked = 0;
    alloc_fork_child();
    account_fork_child();
    cancel_fork_child();
    if (face_state.recording)
        record_fork_child();
    if (face_state.freezing)
        freeze_fork_child();
    thread_leave();
    if (streams_have_a_lock())
        _IO_list_resetlock(); /* as glibc does in a child, if there were other threads */
    kernel_mask_set(signals_before);
}

/* --- the C library's functions --------------------------------------------------------------------------- */

typedef void handler_function(void);
typedef int register_function(handler_function *prepare, handler_function *parent, handler_function *child,
                              void *dso);
typedef pid_t fork_function(void);
typedef int create_function(pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *),
                            void *argument);
typedef int daemon_function(int nochdir, int noclose);
typedef pid_t forkpty_function(int *ret_master, char *name, const struct termios *termios,
                               const struct winsize *size);

/* Weak, and what tells glibc: a program of another C library, a child of one that was to be looked at for instance, can
 * load us. It has no __register_atfork(), and its pthread_atfork() is its own. */
#pragma weak gnu_get_libc_version

static bool c_library_registers(void)
{
    return gnu_get_libc_version != NULL;
}

/* By name, so that another preloaded library's are called too. By the constructor, since a fork or a new thread may not
 * wait for the loader's lock, or by a call before it; the same values whoever writes them. */
static struct {
    register_function *atfork;
    fork_function *fork;
    create_function *create;
} next;

static void *find(const char *name)
{
    int saved = errno;
    thread_enter();
    void *found = dlsym(RTLD_NEXT, name);
    thread_leave();
    errno = saved;
    return found;
}

void fork_find_next(void)
{
    if (c_library_registers())
        __atomic_store_n((void **)&next.atfork, find("__register_atfork"), __ATOMIC_RELAXED);
    __atomic_store_n((void **)&next.create, find("pthread_create"), __ATOMIC_RELAXED);
    __atomic_store_n((void **)&next.fork, find("fork"), __ATOMIC_RELAXED);
}

/* --- registering ---------------------------------------------------------------------------------------- */

static struct platform_lock registering; /* who holds it has no other lock of ours */
static bool registered;                  /* one way; under the lock, read by anyone */

/* As nobody's: what is of a library goes as that ends, which an exit may do while another thread is in the middle of a fork.
 * It would never give back what fork_prepare() took. */
static bool handlers_register(void)
{
    int (*at_fork)(handler_function *, handler_function *, handler_function *) = NULL;
    if (!next.atfork)
        fork_find_next();
    if (next.atfork)
        return next.atfork(fork_prepare, fork_parent, fork_child, NULL) == 0;
    *(void **)&at_fork = dlsym(RTLD_DEFAULT, "pthread_atfork");
    return !at_fork || at_fork(fork_prepare, fork_parent, fork_child) == 0;
}

/* Signals wait: a handler that forks needs what it interrupted. (A thread in a sandbox may not be able to ask for that at
 * its first slow call; whoever created it was.) */
static COLD void register_once(void)
{
    int saved = errno;
    uint64_t signals = kernel_mask_set(KERNEL_EVERY_SIGNAL);
    platform_lock(&registering);
    if (!registered)
        __atomic_store_n(&registered, handlers_register(), __ATOMIC_RELEASE);
    platform_unlock(&registering);
    kernel_mask_set(signals);
    errno = saved;
}

/* A long list of handlers makes the C library allocate, which may be this thread's first call. */
void fork_need(void)
{
    if (__atomic_load_n(&registered, __ATOMIC_ACQUIRE) || platform_lock_is_mine(&registering))
        return;
    register_once();
}

void fork_start(void)
{
    if (!c_library_registers())
        fork_need();
}

/* --- what the program calls ----------------------------------------------------------------------------- */

int __register_atfork(handler_function *prepare, handler_function *parent, handler_function *child,
                      void *dso);
EXPORT int __register_atfork(handler_function *prepare, handler_function *parent, handler_function *child,
                             void *dso)
{
    fork_need();
    return next.atfork ? next.atfork(prepare, parent, child, dso) : ENOSYS;
}

EXPORT int pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument)
{
    fork_need();
    if (face_state.recording)
        record_before_thread();
    if (!next.create)
        fork_find_next();
    return next.create ? next.create(ret, attributes, run, argument) : EAGAIN;
}

EXPORT pid_t fork(void)
{
    fork_need();
    if (!next.fork)
        fork_find_next();
    if (next.fork)
        return next.fork();
    errno = ENOSYS;
    return -1;
}

/* These two fork by the C library's own name. */

EXPORT int daemon(int nochdir, int noclose)
{
    fork_need();
    daemon_function *real = (daemon_function *)find("daemon");
    if (real)
        return real(nochdir, noclose);
    errno = ENOSYS;
    return -1;
}

EXPORT pid_t forkpty(int *ret_master, char *name, const struct termios *termios, const struct winsize *size)
{
    fork_need();
    forkpty_function *real = (forkpty_function *)find("forkpty");
    if (real)
        return real(ret_master, name, termios, size);
    errno = ENOSYS;
    return -1;
}
