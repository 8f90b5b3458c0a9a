/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous cancellation, which may strike at any instruction, and ends the thread there: in the middle of the
 * allocator it would leave a lock held for ever. A thread has to ask for it, by pthread_setcanceltype(); programs that do so
 * with a busy thread exist: redis, with its main one.
 *
 *   pthread_cancel --> the C library's signal --> our trampoline (signals.h) --> the C library's handler
 *                                                      ' waits, where a lock is held or a call recorded
 *
 * The C library installs its handler by itself, past us, when somebody is cancelled for the first time, and then is struck
 * at once. So the first thread to ask has a helper cancelled, which does not listen: from then on the handler is entered
 * through us, and nothing else is to be done. Where that cannot be had, the fast paths of threads that ask miss, and their
 * slow paths put cancellation off until they are through.
 */
#include "preload/face.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include "preload/kernel.h"
#include "preload/signals.h"
#include "preload/thread.h"

typedef int setcanceltype_function(int type, int *ret_old);
static setcanceltype_function *next; /* the same value whoever writes it */

#define SIGNAL_SETXID 33 /* a thread that does not answer it keeps setuid() waiting */

enum { NOT_TRIED, TRYING, OURS, NOT_OURS };
static uint32_t handler; /* any thread */

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

/* --- the handler ------------------------------------------------------------------------------------------------ */

enum { HELPER_STARTS, HELPER_IS_DEAF, HELPER_MAY_GO };

static void wait_while(const uint32_t *word, uint32_t value)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value)
        kernel_futex_wait(word, value, 0);
}

static void tell(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    kernel_futex_wake(word, 1);
}

static void *be_cancelled(void *arg)
{
    uint32_t *stage = arg;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    tell(stage, HELPER_IS_DEAF);
    wait_while(stage, HELPER_IS_DEAF);
    return NULL;
}

/* pthread_cancel() ends the process if it does not find this library, which it loads. */
static bool may_cancel(void)
{
    if (dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL))
        return true;
    dlerror();
    return false;
}

/* The helper takes no signal of the program's, and nobody cancels us while it is there. */
static COLD bool make_installed(void)
{
    static uint32_t stage;
    pthread_t helper;
    int state;
    if (!may_cancel())
        return false;
    stage = HELPER_STARTS;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    uint64_t mask = kernel_mask_set(~(kernel_signal_bit(SIGNAL_SETXID) | kernel_signal_bit(SIGSYS)));
    bool made = pthread_create(&helper, NULL, be_cancelled, &stage) == 0;
    kernel_mask_set(mask);
    if (made) {
        wait_while(&stage, HELPER_STARTS);
        pthread_cancel(helper);
        tell(&stage, HELPER_MAY_GO);
        pthread_join(helper, NULL);
    }
    pthread_setcancelstate(state, NULL);
    return made && signals_adopt(SIGNAL_CANCEL);
}

/* Not from the middle of the allocator, or of a handler that came there. Who comes while another thread tries does without. */
static COLD bool handler_becomes_ours(void)
{
    uint32_t was = NOT_TRIED;
    if (thread_flags.inside != 0 || alloc_is_interrupted() ||
        !__atomic_compare_exchange_n(&handler, &was, TRYING, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
        return false;
    int saved = errno;
    thread_enter(); /* what is allocated here is not the program's */
    bool ours = signals_adopt(SIGNAL_CANCEL) || make_installed();
    thread_leave();
    __atomic_store_n(&handler, ours ? OURS : NOT_OURS, __ATOMIC_RELEASE);
    errno = saved;
    return ours;
}

static bool handler_is_ours(void)
{
    /* A first cancellation that was under way as we took over may have put back its own. */
    if (__atomic_load_n(&handler, __ATOMIC_ACQUIRE) == OURS)
        return signals_adopt(SIGNAL_CANCEL);
    return handler_becomes_ours();
}

void cancel_fork_child(void)
{
    if (handler == TRYING)
        handler = NOT_TRIED;
}

EXPORT int pthread_setcanceltype(int type, int *ret_old)
{
    if (!next)
        cancel_start();
    if (!next)
        return ENOSYS;
    if (type == PTHREAD_CANCEL_ASYNCHRONOUS && !handler_is_ours()) {
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
