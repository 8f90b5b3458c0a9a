/* SPDX-License-Identifier: MIT */
/*
 * late.c - preloaded behind the library: the loader's work is done, but its caller is stopped on its way there or back, as a
 * busy machine may stop it at any time. What others do meanwhile, they do before anybody could tell them of a change.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <unistd.h>

static void be_late(void)
{
    static unsigned turn;
    unsigned microseconds =
        __atomic_add_fetch(&turn, 1, __ATOMIC_RELAXED) * 2654435761u >> 20; /* below 4,096 */

    usleep(microseconds);
}

void *dlopen(const char *file, int mode)
{
    void *(*real)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");

    be_late();
    return real(file, mode);
}

int dlclose(void *handle)
{
    int (*real)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, "dlclose");
    int result = real(handle);

    be_late();
    return result;
}
