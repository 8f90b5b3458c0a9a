/* SPDX-License-Identifier: MIT */
/*
 * dlopen and dlclose, interposed, and iconv_close, which is a dlclose at times.
 *
 * A library opened with RTLD_DEEPBIND binds past the preload: its malloc, or its strdup's, would come from
 * the C library's own heap and end in our free. So dlopen loses that flag. It must *jump* to the real one:
 * the loader takes the caller's search path (RUNPATH, and the namespace) from the return address, and a call
 * that returns through us would make us the caller. What a compiler makes of `return real(...)` depends on
 * its mood and the optimisation level, so these few instructions are written out.
 *
 * Loader locks: record_modules_changed() and _opening() only set marks, and dlsym of a name that is there allocates
 * nothing.
 */
#include <dlfcn.h>
#include <iconv.h>

#include "preload/face.h"
#include "preload/foreign.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

typedef void any_function(void);

/* The real functions, in the order of the names. The same values whoever writes them. */
enum real { REAL_DLOPEN, REAL_DLMOPEN, REAL_DLCLOSE, REAL_ICONV_CLOSE, REALS };
static const char *const real_names[REALS] = {"dlopen", "dlmopen", "dlclose", "iconv_close"};
static any_function *reals[REALS];

/* Stands in for what the C library does not have: every call fails, as NULL or as an error, whatever it asks
 * for. */
static long no_such_function(void)
{
    return 0;
}

static any_function *real_function(enum real which)
{
    any_function *found = __atomic_load_n(&reals[which], __ATOMIC_RELAXED);
    if (found)
        return found;
    thread_enter();
    found = (any_function *)dlsym(RTLD_NEXT, real_names[which]);
    thread_leave();
    if (!found)
        found = (any_function *)no_such_function;
    __atomic_store_n(&reals[which], found, __ATOMIC_RELAXED);
    return found;
}

/* The loader frees the text of an earlier error before it takes its lock. It does so in dlsym, too: then what this thread
 * allocates or frees next is the loader's with the lock, which modules.h needs. */
static void tell_recorder(enum real which)
{
    if (!face_state.recording)
        return;
    (void)dlsym(RTLD_NEXT, real_names[which]);
    record_modules_opening();
}

/* Called by the two jumps below, nobody else: what has to be done before, and where to jump. */
any_function *dl_before_open(void);
__attribute__((used)) any_function *dl_before_open(void)
{
    tell_recorder(REAL_DLOPEN);
    return real_function(REAL_DLOPEN);
}

any_function *dl_before_open_in_namespace(void);
__attribute__((used)) any_function *dl_before_open_in_namespace(void)
{
    foreign_namespace_opened();
    tell_recorder(REAL_DLMOPEN);
    return real_function(REAL_DLMOPEN);
}

_Static_assert(RTLD_DEEPBIND == 8, "the masks below");
#define UNUSED __attribute__((unused))

/* Keep the arguments, call `before`, take RTLD_DEEPBIND out of `mode`, jump. */
#define JUMP(before, mode)                                                                                   \
    __asm__("push %rdi\n\t.cfi_adjust_cfa_offset 8\n\t"                                                      \
            "push %rsi\n\t.cfi_adjust_cfa_offset 8\n\t"                                                      \
            "push %rdx\n\t.cfi_adjust_cfa_offset 8\n\t"                                                      \
            "call " before "\n\t"                                                                            \
            "pop %rdx\n\t.cfi_adjust_cfa_offset -8\n\t"                                                      \
            "pop %rsi\n\t.cfi_adjust_cfa_offset -8\n\t"                                                      \
            "pop %rdi\n\t.cfi_adjust_cfa_offset -8\n\t"                                                      \
            "and $~8, " mode "\n\t"                                                                          \
            "jmp *%rax")

EXPORT __attribute__((naked)) void *dlopen(const char *file UNUSED, int mode UNUSED)
{
    JUMP("dl_before_open", "%esi");
}

EXPORT __attribute__((naked)) void *dlmopen(Lmid_t space UNUSED, const char *file UNUSED, int mode UNUSED)
{
    JUMP("dl_before_open_in_namespace", "%edx");
}

EXPORT int dlclose(void *handle)
{
    int result = ((int (*)(void *))real_function(REAL_DLCLOSE))(handle);
    if (face_state.recording)
        record_modules_changed();
    return result;
}

/* The C library's converters are its own plugins. It takes out those that have not been used for a while, past our dlclose,
 * and the next one may lie where one of them lay. */
EXPORT int iconv_close(iconv_t converter)
{
    int result = ((int (*)(iconv_t))real_function(REAL_ICONV_CLOSE))(converter);
    if (face_state.recording)
        record_modules_may_be_gone();
    return result;
}
