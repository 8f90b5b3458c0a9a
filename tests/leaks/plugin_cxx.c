/* SPDX-License-Identifier: MIT */
/*
 * plugin_cxx.c - a C program opens a C++ library, which throws and loses a block, and closes it again.
 *
 * plugin: deep_plugin
 * total: lost=1/64
 * group: lost blocks=1 bytes=64 module=deep_plugin.so stack=inner<plugin_run<use<main
 */
#include <dlfcn.h>

#include "leak.h"

OWN static void use(void)
{
    void *library = dlopen("deep_plugin.so", RTLD_NOW);
    void (*run)(int) = library ? (void (*)(int))dlsym(library, "plugin_run") : NULL;

    if (!run)
        exit(1);
    run(1);
    dlclose(library);
}

int main(void)
{
    use();
    scrub();
    return 0;
}
