/* SPDX-License-Identifier: MIT */
/*
 * C++'s operator delete, every form. operator new is libstdc++'s: it must throw, and it calls our malloc.
 *
 * What these are for: a wrong delete is named as one, not as a free. What they must not do is break a pair of
 * operators that belong together. So:
 *
 *   the next definition after ours is libstdc++'s (or there is none)   ours: the block is freed here
 *   the next definition is somebody's own (a pool, a debugging new)    theirs: every call is passed on
 *   not the start of a block of ours, and the calling module           passed on to that module's: a plugin
 * opened has an operator delete of its own                                RTLD_LOCAL is not "next", but binds
 * to us otherwise                                                          misuse
 *
 * A program that defines both operators itself never comes here: its own definitions are found before ours.
 */
#include "preload/face.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include "allocator/fast.h"
#include "preload/thread.h"

/* (p), (p, size), (p, nothrow), (p, alignment), (p, size, alignment), (p, alignment, nothrow): a callee takes
 * from the registers what it wants. */
typedef void delete_function(void *p, uintptr_t a, uintptr_t b);

#define FORMS(X)                                                                                             \
    X(_ZdlPv)                                                                                                \
    X(_ZdaPv)                                                                                                \
    X(_ZdlPvm)                                                                                               \
    X(_ZdaPvm)                                                                                               \
    X(_ZdlPvRKSt9nothrow_t)                                                                                  \
    X(_ZdaPvRKSt9nothrow_t)                                                                                  \
    X(_ZdlPvSt11align_val_t)                                                                                 \
    X(_ZdaPvSt11align_val_t)                                                                                 \
    X(_ZdlPvmSt11align_val_t)                                                                                \
    X(_ZdaPvmSt11align_val_t)                                                                                \
    X(_ZdlPvSt11align_val_tRKSt9nothrow_t)                                                                   \
    X(_ZdaPvSt11align_val_tRKSt9nothrow_t)

#define FORM_NUMBER(name) FORM##name,
#define FORM_NAME(name)   #name,
enum form { FORMS(FORM_NUMBER) FORM_COUNT };
static const char form_name[FORM_COUNT][40] = {FORMS(FORM_NAME)};

enum pair { PAIR_NOT_KNOWN, PAIR_OURS, PAIR_THEIRS };

/* Both: the same values whoever writes them. */
static uint8_t pair;
static delete_function *next_form[FORM_COUNT];

static bool is_standard_library(const void *function)
{
    Dl_info info;
    if (!dladdr(function, &info) || !info.dli_fname)
        return false;
    const char *slash = strrchr(info.dli_fname, '/');
    const char *name = slash ? slash + 1 : info.dli_fname;
    return strncmp(name, "libstdc++.so", 12) == 0 || strncmp(name, "libc++.so", 9) == 0 ||
           strncmp(name, "libc++abi.so", 12) == 0;
}

/* The operator new that the program sees, NULL without C++. Weak: the loader fills it in, nobody has to look. */
extern void *_Znwm(size_t size) __attribute__((weak));

/* Weak: another C library than glibc lacks it, and could not load us otherwise. */
#pragma weak dladdr1

static void find_operator_new(void)
{
    Dl_info info;
    void *symbol = NULL;
    if (dladdr1 && is_standard_library((const void *)_Znwm) &&
        dladdr1((const void *)_Znwm, &info, &symbol, RTLD_DL_SYMENT) && symbol)
        record_operator_new((uintptr_t)_Znwm, ((const ElfW(Sym) *)symbol)->st_size);
}

/* Asks the loader, which has a lock: from the constructor, so that no thread's first delete does it while another
 * one opens a library. Only deletes in constructors that run before ours find it not done. */
COLD void delete_start(void)
{
    int saved = errno;
    thread_enter();
    delete_function *next = _Znwm ? (delete_function *)dlsym(RTLD_NEXT, form_name[FORM_ZdlPv]) : NULL;
    bool theirs = next && !is_standard_library((const void *)next);
    for (enum form form = 0; theirs && form < FORM_COUNT; form++)
        next_form[form] = (delete_function *)dlsym(RTLD_NEXT, form_name[form]);
    if (_Znwm && !theirs)
        find_operator_new();
    if (_Znwm)
        dlerror(); /* what was not found is nobody's error */
    thread_leave();
    __atomic_store_n(&pair, theirs ? PAIR_THEIRS : PAIR_OURS, __ATOMIC_RELEASE);
    errno = saved;
}

/* The operator delete that the module of `caller` would have found without us; NULL when it has none. */
static COLD delete_function *form_of_caller(enum form form, void *caller)
{
    Dl_info info;
    struct link_map *map;
    if (!dladdr1 || !dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) || !map->l_name || !*map->l_name)
        return NULL;
    void *handle = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
    if (!handle)
        return NULL;
    delete_function *found = (delete_function *)dlsym(handle, form_name[form]);
    dlclose(handle);
    return found;
}

#define DECLARE(name) extern void name(void *p, uintptr_t a, uintptr_t b);
FORMS(DECLARE)
#define OURS(name) name,
static delete_function *const our_form[FORM_COUNT] = {FORMS(OURS)};

static COLD void delete_wrong(void *p, enum form form, uintptr_t a, uintptr_t b, void *caller)
{
    thread_enter();
    delete_function *own = form_of_caller(form, caller);
    dlerror();
    thread_leave();
    if (own && own != our_form[form] && !is_standard_library((const void *)own))
        own(p, a, b);
    else
        release(p, RELEASE_DELETE);
}

/* Its callers end with it: so it sees who called the operator. */
__attribute__((noinline)) void delete_slow(void *p, uintptr_t form, uintptr_t a, uintptr_t b)
{
    struct alloc_block block;
    if (!p)
        return;
    if (pair == PAIR_NOT_KNOWN)
        delete_start();
    if (pair == PAIR_THEIRS && next_form[form])
        next_form[form](p, a, b);
    else if (alloc_find(p, &block) == ALLOC_OK)
        release(p, RELEASE_DELETE);
    else
        delete_wrong(p, (enum form)form, a, b, __builtin_return_address(0));
}

static __attribute__((noinline)) void delete_next(void *p, uintptr_t form, uintptr_t a, uintptr_t b)
{
    if (pair == PAIR_OURS && face_state.plainly_recording)
        delete_recorded(p, form, a, b);
    else
        delete_slow(p, form, a, b);
}

/* `pair` is read without order: a thread that does not see it yet finds it out again, with the same result.
 */
#define DEFINE(name)                                                                                         \
    EXPORT ALLOC_FAST_SELDOM void name(void *p, uintptr_t a, uintptr_t b)                                    \
    {                                                                                                        \
        if (__atomic_load_n(&pair, __ATOMIC_RELAXED) != PAIR_OURS || !alloc_free_fast(p))                    \
            delete_next(p, FORM##name, a, b);                                                                \
    }
FORMS(DEFINE)
