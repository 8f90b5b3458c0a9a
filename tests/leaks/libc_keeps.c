/* SPDX-License-Identifier: MIT */
/*
 * libc_keeps.c - what the C library holds for itself is no leak: an open stream, a locale, a converter, exit
 * handlers, a host name.
 *
 * total:
 */
#include <dlfcn.h>
#include <iconv.h>
#include <locale.h>
#include <pwd.h>
#include <stdio.h>

#include "leak.h"

static iconv_t converter;

OWN static void handler(void)
{
    OPAQUE(&converter);
}

OWN static void build(void)
{
    FILE *f = fopen("/proc/self/status", "r");

    if (!f || fgetc(f) == EOF)
        exit(1);
    setlocale(LC_ALL, "C.UTF-8");
    converter = iconv_open("UTF-16", "UTF-8");
    for (int i = 0; i < 100; i++)
        atexit(handler);
    setenv("HEAPTALLY_TEST", "a value that is copied", 1);
    getpwuid(0);
    dlsym(RTLD_DEFAULT, "there is no such symbol");
}

int main(void)
{
    build();
    scrub();
    return 0;
}
