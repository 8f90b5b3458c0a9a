/* SPDX-License-Identifier: MIT */
#include "preload/signals.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <ucontext.h>

#include "allocator/fast.h"
#include "preload/face.h"
#include "preload/freeze.h"
#include "preload/kernel.h"
#include "preload/line.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

#define CAPTURE_STACK    ((uintptr_t)128 << 10) /* the recorder's; which one is not known here */
#define TRAMPOLINE_COUNT 130
#define TRAMPOLINE_SIZE  16
#define RESTORER_SIZE    16u /* mov $15,%rax; syscall */

typedef void handler_function(int signal, siginfo_t *info, void *context);

/* --- who was interrupted, and what is done about it ------------------------------------------------------ */

/* All of this stands in a section of the fast paths itself: a second signal that comes before the bracket is set
 * up, or as it is taken down, finds the first one's pc there and brackets its own handler. */

extern const char __start_heaptally_fast[] __attribute__((visibility("hidden")));
extern const char __stop_heaptally_seldom[] __attribute__((visibility("hidden")));

static uintptr_t restorer; /* where handlers return to; the same value whoever writes it */

/* Own thread, handlers included. */
static __thread struct {
    uint64_t waiting;        /* signals, as the kernel's mask */
    uint32_t inside;         /* thread_flags.inside that the outermost bracketed handler interrupted */
    bool interrupted_record; /* and whether that was a recorded call */
} signals_of_thread;

static inline uintptr_t pc_of(const ucontext_t *context)
{
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

/* A handler that has just left its bracket, or never had one, still stands on what it interrupted. */
static inline bool pc_is_ours(uintptr_t pc)
{
    return pc - (uintptr_t)__start_heaptally_fast <
               (uintptr_t)__stop_heaptally_seldom - (uintptr_t)__start_heaptally_fast ||
           pc - load_relaxed(&restorer) < RESTORER_SIZE;
}

/* Real-time signals keep their order, so they do not wait, but for the one that cancels a thread, after which nothing comes. */
#define SIGNALS_THAT_WAIT SIGNAL_CANCEL

static inline bool may_wait(int signal)
{
    uint64_t never = kernel_signal_bit(SIGSEGV) | kernel_signal_bit(SIGBUS) | kernel_signal_bit(SIGILL) |
                     kernel_signal_bit(SIGFPE) | kernel_signal_bit(SIGTRAP) | kernel_signal_bit(SIGSYS) |
                     kernel_signal_bit(SIGABRT);
    return signal <= SIGNALS_THAT_WAIT && (never & kernel_signal_bit(signal)) == 0;
}

/* What waits comes back through the kernel as it came: mask, stack, siginfo. Without SA_SIGINFO there is no
 * siginfo, and nobody who would read it. */
__attribute__((noinline)) static bool put_off(int signal, siginfo_t *info, ucontext_t *context,
                                              handler_function *trampoline)
{
    struct kernel_action action;
    uint64_t bit = kernel_signal_bit(signal);
    long result;
    /* One that was for once only is back to the default action, which must not strike. */
    if (!kernel_action_get(signal, &action) || (uintptr_t)action.handler != (uintptr_t)trampoline)
        return false;
    if ((action.flags & SA_NODEFER) != 0)
        kernel_call4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&bit, 0, sizeof bit);
    if ((action.flags & SA_SIGINFO) != 0)
        result = kernel_call4(SYS_rt_tgsigqueueinfo, kernel_pid(), kernel_tid(), signal, (long)info);
    else
        result = kernel_call(SYS_tgkill, kernel_pid(), kernel_tid(), signal);
    if (result != 0) {
        if ((action.flags & SA_NODEFER) != 0)
            kernel_call4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&bit, 0, sizeof bit);
        return false;
    }
    context->uc_sigmask.__val[0] |= bit;
    __atomic_fetch_or(&signals_of_thread.waiting, bit, __ATOMIC_RELAXED); /* one may come in between */
    if (thread_flags.outer != 0)
        thread_flags.parked |= DUE_SIGNALS;
    else
        alloc_want_unlock();
    return true;
}

void signals_let_in(void)
{
    uint64_t mask = __atomic_exchange_n(&signals_of_thread.waiting, 0, __ATOMIC_RELAXED);
    if (mask != 0)
        kernel_call4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&mask, 0, sizeof mask);
}

/* `frame`: the lowest word of what the kernel put on the stack, below which are the handler's frames. */
static inline struct alloc_stack stack_of(const ucontext_t *context, uintptr_t frame)
{
    uintptr_t low = (uintptr_t)context->uc_stack.ss_sp, size = context->uc_stack.ss_size;
    uintptr_t sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    if (frame - low < size)
        return (struct alloc_stack){frame, low, low + size};
    if (thread_flags.outer != 0 && thread_flags.outer - sp > CAPTURE_STACK)
        return (struct alloc_stack){frame, frame - CAPTURE_STACK, frame + CAPTURE_STACK};
    return (struct alloc_stack){frame, 0, 0};
}

/* From the front, each once, by compare and swap; any thread. */
static handler_function *bound[TRAMPOLINE_COUNT] __attribute__((section(".bss.long")));
/* The code of all of them, below. */
extern const unsigned char trampolines[TRAMPOLINE_COUNT * TRAMPOLINE_SIZE]
    __attribute__((visibility("hidden")));

static inline handler_function *trampoline_at(unsigned number)
{
    return (handler_function *)(uintptr_t)&trampolines[number * TRAMPOLINE_SIZE];
}

/* The bracket first: from there on it does not matter where another signal finds us. */
ALLOC_FAST_SELDOM __attribute__((noinline)) static void
call_bracketed(int signal, siginfo_t *info, ucontext_t *context, uintptr_t frame, unsigned number)
{
    struct alloc_nested nested;
    struct alloc_stack stack = stack_of(context, frame);
    bool outermost = !thread_is_nested();
    if (outermost) {
        signals_of_thread.inside = thread_flags.inside;
        signals_of_thread.interrupted_record = thread_flags.outer != 0;
    }
    alloc_nested_begin(&stack, &nested);
    /* Not only the outermost: this one may have come while that one is still on its way into put_off(), or while a
     * handler that may not wait runs over a lock. What waits is let in at most once for each handler below it, finds
     * the lock again, and waits on. */
    bool must_wait = thread_flags.outer != 0 || alloc_holds_lock();
    bool waits = must_wait && may_wait(signal) && put_off(signal, info, context, trampoline_at(number));
    /* Where the kernel has no room for one more that waits, a cancellation is lost rather than a lock. */
    if (!waits && !(must_wait && signal == SIGNAL_CANCEL))
        load_acquire (&bound[number])(signal, info, context);
    alloc_nested_end(&nested);
}

/* Called by the kernel, the context begins where the caller's return address ends. Somebody who got hold of a
 * trampoline's address may call it with anything: then who was called by the kernel has looked, or nobody. */
void signals_enter(int signal, siginfo_t *info, void *context, uintptr_t frame, unsigned number)
    __attribute__((visibility("hidden")));
ALLOC_FAST_SELDOM __attribute__((used)) void signals_enter(int signal, siginfo_t *info, void *context,
                                                           uintptr_t frame, unsigned number)
{
    if ((uintptr_t)context == frame &&
        (pc_is_ours(pc_of(context)) || alloc_is_interrupted() || thread_flags.inside != 0))
        call_bracketed(signal, info, context, frame, number);
    else
        load_acquire (&bound[number])(signal, info, context);
}

/* --- trampolines ---------------------------------------------------------------------------------------- */

/* One after the other, TRAMPOLINE_SIZE apart, so that a number and an address are told from each other: number N calls
 * signals_enter() with its own arguments, the place where its caller's frame ends, and N. */
_Static_assert(TRAMPOLINE_COUNT == 130 && TRAMPOLINE_SIZE == 16, "the .rept and the .balign below");
__asm__(".pushsection heaptally_seldom, \"ax\", @progbits\n"
        ".balign 16\n"
        ".type trampolines, @function\n"
        ".globl trampolines\n"
        ".hidden trampolines\n"
        "trampolines:\n"
        ".cfi_startproc\n"
        ".set .Lnumber, 0\n"
        ".rept 130\n"
        "    lea 8(%rsp), %rcx\n"
        "    mov $.Lnumber, %r8d\n"
        "    jmp signals_enter\n"
        "    .balign 16\n"
        "    .set .Lnumber, .Lnumber + 1\n"
        ".endr\n"
        ".cfi_endproc\n"
        ".size trampolines, . - trampolines\n"
        ".popsection\n");

static bool is_handler(handler_function *handler)
{
    __sighandler_t plain = (__sighandler_t)(uintptr_t)handler;
    return plain != SIG_DFL && plain != SIG_IGN && plain != SIG_ERR && plain != SIG_HOLD;
}

static handler_function *handler_of(handler_function *trampoline)
{
    uintptr_t offset = (uintptr_t)trampoline - (uintptr_t)trampolines;
    if (offset >= sizeof trampolines || offset % TRAMPOLINE_SIZE != 0)
        return trampoline;
    return load_acquire(&bound[offset / TRAMPOLINE_SIZE]);
}

/* The handler itself when there is no trampoline left, or when it is one. */
static handler_function *trampoline_of(handler_function *handler)
{
    if (!is_handler(handler) || handler_of(handler) != handler)
        return handler;
    for (unsigned i = 0; i < TRAMPOLINE_COUNT; i++) {
        handler_function *there = NULL;
        if (cas_acq_rel(&bound[i], &there, handler) || there == handler)
            return trampoline_at(i);
    }
    return handler;
}

/* --- the C library's functions --------------------------------------------------------------------------- */

typedef __sighandler_t signal_function(int signal, __sighandler_t handler);
typedef int sigaction_function(int signal, const struct sigaction *action, struct sigaction *ret_old);

/* By dlsym, which allocates nothing when it succeeds: they complete flags and restorer, know siginterrupt(), refuse
 * the numbers that the thread library keeps, and may be another library's (a sanitizer's). */
static struct {
    sigaction_function *sigaction;
    signal_function *signal, *sysv_signal, *sigset;
} next;

static void find_next(void)
{
    *(void **)&next.signal = dlsym(RTLD_NEXT, "signal");
    *(void **)&next.sysv_signal = dlsym(RTLD_NEXT, "__sysv_signal");
    *(void **)&next.sigset = dlsym(RTLD_NEXT, "sigset");
    void *found = dlsym(RTLD_NEXT, "sigaction");
    __atomic_store_n((void **)&next.sigaction, found, __ATOMIC_RELEASE);
}

void signals_start(void)
{
    int saved = errno;
    alloc_on_unlock(signals_let_in);
    if (load_acquire(&next.sigaction) == NULL)
        find_next();
    errno = saved;
}

/* All handlers that the C library installs return to the same two instructions. */
static void learn_restorer(int signal)
{
    struct kernel_action action;
    if (load_relaxed(&restorer) == 0 && kernel_action_get(signal, &action) && action.restorer)
        store_relaxed(&restorer, (uintptr_t)action.restorer);
}

EXPORT int sigaction(int signal, const struct sigaction *action, struct sigaction *ret_old)
{
    struct sigaction ours;
    signals_start();
    if (!next.sigaction) {
        errno = ENOSYS;
        return -1;
    }
    if (action) {
        ours = *action;
        ours.sa_sigaction = trampoline_of(action->sa_sigaction);
    }
    int result = next.sigaction(signal, action ? &ours : NULL, ret_old);
    if (result != 0)
        return result;
    if (action)
        learn_restorer(signal);
    if (ret_old)
        ret_old->sa_sigaction = handler_of(ret_old->sa_sigaction);
    return 0;
}

bool signals_adopt(int signal)
{
    struct kernel_action action;
    if (!kernel_action_get(signal, &action))
        return false;
    handler_function *there = (handler_function *)(uintptr_t)action.handler;
    handler_function *ours = trampoline_of(there);
    if (!is_handler(there))
        return false;
    if (ours == there)
        return handler_of(there) != there;
    learn_restorer(signal);
    action.handler = (void *)(uintptr_t)ours;
    return kernel_action_set(signal, &action);
}

static __sighandler_t install(signal_function *const *function, int signal, __sighandler_t handler)
{
    signals_start();
    if (!*function) {
        errno = ENOSYS;
        return SIG_ERR;
    }
    handler_function *ours = trampoline_of((handler_function *)(uintptr_t)handler);
    __sighandler_t old = (*function)(signal, (__sighandler_t)(uintptr_t)ours);
    if (old == SIG_ERR)
        return old;
    learn_restorer(signal);
    return (__sighandler_t)(uintptr_t)handler_of((handler_function *)(uintptr_t)old);
}

EXPORT __sighandler_t signal(int signal, __sighandler_t handler)
{
    return install(&next.signal, signal, handler);
}

EXPORT __sighandler_t __sysv_signal(int signal, __sighandler_t handler)
{
    return install(&next.sysv_signal, signal, handler);
}

EXPORT __sighandler_t sigset(int signal, __sighandler_t handler)
{
    return install(&next.sigset, signal, handler);
}

/* Second names. */
#define ALSO(name, target)                                                                                   \
    __asm__(".globl " #name "\n\t.set " #name ", " #target "\n\t.type " #name ", @function")
ALSO(__sigaction, sigaction);
ALSO(bsd_signal, signal);
ALSO(ssignal, signal);
ALSO(sysv_signal, __sysv_signal);

/* --- left by a jump ------------------------------------------------------------------------------------- */

static COLD void tell_once(const char *what)
{
    static bool told;
    if (__atomic_exchange_n(&told, true, __ATOMIC_RELAXED))
        return;
    struct line line;
    line_start(&line, "heaptally: a signal handler jumped out of ");
    line_text(&line, what);
    line_write(&line, 2);
}

COLD void signals_look_whether_left(void)
{
    enum alloc_healing healing = alloc_nested_heal();
    if (healing == ALLOC_LEFT_LOCKED)
        tell_once("malloc or free while a lock was held; other threads may wait for ever");
    if (healing != ALLOC_HEALED)
        return;
    if (signals_of_thread.interrupted_record) {
        thread_flags.outer = 0;
        if (!record_thread_abandoned())
            return; /* inside for ever: served, not recorded */
    }
    thread_flags.inside -= signals_of_thread.inside;
}
