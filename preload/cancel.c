/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous cancellation, which may strike at any instruction, and ends the thread there: in the middle of the
 * allocator it would leave a lock held for ever. The C library's handler for it is none that could be entered through
 * us (signals.h). But a thread has to ask for it, by pthread_setcanceltype(): from then on its fast paths miss, and its
 * slow paths put cancellation off until they are through, fast paths and all. Threads that never ask pay one load on the
 * slow path. Programs that do so with a busy thread exist: redis, with its main one.
 */
#include "preload/face.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include "preload/thread.h"

typedef int setcanceltype_function(int type, int *ret_old);
static setcanceltype_function *next; /* the same value whoever writes it */

void cancel_start(void)
{
    void *found = dlsym(RTLD_NEXT, "pthread_setcanceltype");
    __atomic_store_n((void **)&next, found, __ATOMIC_RELAXED);
}

void cancel_hold(void)
{
    thread_flags.cancels = 0;
    next(PTHREAD_CANCEL_DEFERRED, NULL);
    alloc_thread_fast(true);
}

/* What was asked for meanwhile happens here. */
void cancel_let(void)
{
    alloc_thread_fast(false);
    thread_flags.cancels = 1;
    next(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
}

EXPORT int pthread_setcanceltype(int type, int *ret_old)
{
    if (!next)
        cancel_start();
    if (!next)
        return ENOSYS;
    if (type == PTHREAD_CANCEL_ASYNCHRONOUS) {
        alloc_thread_fast(false);
        thread_flags.cancels = 1;
        return next(type, ret_old);
    }
    int result = next(type, ret_old);
    if (result == 0 && thread_flags.cancels) {
        thread_flags.cancels = 0;
        alloc_thread_fast(true);
    }
    return result;
}
