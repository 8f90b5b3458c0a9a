/* SPDX-License-Identifier: MIT */
/* Preloaded behind the library: counts what comes to the C library's list of fork handlers. With ATFORK_EARLY its
 * constructor, which runs before the library's, registers handlers that allocate. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

typedef void handler(void);

static int registrations, early_runs;

int __register_atfork(handler *prepare, handler *parent, handler *child, void *dso);
int __register_atfork(handler *prepare, handler *parent, handler *child, void *dso)
{
    int (*next)(handler *, handler *, handler *, void *) = NULL;
    *(void **)&next = dlsym(RTLD_NEXT, "__register_atfork");
    __atomic_fetch_add(&registrations, 1, __ATOMIC_RELAXED);
    return next(prepare, parent, child, dso);
}

int atfork_registrations(void);
int atfork_registrations(void)
{
    return registrations;
}

int atfork_early_runs(void);
int atfork_early_runs(void)
{
    return early_runs;
}

static void allocates_early(void)
{
    early_runs++;
    free(malloc(333));
    free(malloc(50000));
}

__attribute__((constructor)) static void register_early(void)
{
    if (getenv("ATFORK_EARLY"))
        pthread_atfork(allocates_early, allocates_early, allocates_early);
}
