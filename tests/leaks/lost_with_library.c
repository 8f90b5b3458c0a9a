/* SPDX-License-Identifier: MIT */
/*
 * lost_with_library.c - the only pointer was in a global of a library that has been closed; its frame keeps
 * its name.
 *
 * plugin: plugin
 * total: lost=1/64
 * group: lost blocks=1 bytes=64 module=plugin.so stack=plugin_keep<open_and_call<main
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
    dlclose(open_and_call());
    scrub();
    return 0;
}
