/* SPDX-License-Identifier: MIT */
/*
 * held_by_library_global.c - a global of a library that stays open is the only pointer.
 *
 * plugin: plugin
 * total:
 */
#include <dlfcn.h>

#include "leak.h"

OWN static void *open_and_call(void)
{
    void *library = dlopen("plugin.so", RTLD_NOW);
    void (*keep)(void) = library ? (void (*)(void))dlsym(library, "plugin_keep") : NULL;

    if (!keep)
        exit(1);
    keep();
    return library;
}

int main(void)
{
    open_and_call();
    scrub();
    return 0;
}
