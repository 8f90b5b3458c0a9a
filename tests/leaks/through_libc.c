/* SPDX-License-Identifier: MIT */
/*
 * through_libc.c - blocks the C library allocates for the program, lost: the stack passes through the library
 * to main.
 *
 * total: lost=5
 * group: lost blocks=1 bytes=6 stack=by_strdup<build<main
 * group: lost blocks=1 stack=by_getline<build<main
 * group: lost blocks=1 stack=by_asprintf<build<main
 * group: lost blocks=1 stack=by_opendir<build<main
 * group: lost blocks=1 stack=by_realpath<build<main
 */
#include <dirent.h>
#include <stdio.h>

#include "leak.h"

OWN static void by_strdup(void)
{
    OPAQUE(strdup("twelve" + 1));
}

OWN static void by_getline(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char *line = NULL;
    size_t size = 0;

    if (!f || getline(&line, &size, f) < 0)
        exit(1);
    fclose(f);
}

OWN static void by_asprintf(void)
{
    char *text;

    if (asprintf(&text, "%d and %s", 12, "some") < 0)
        exit(1);
}

OWN static void by_opendir(void)
{
    OPAQUE(opendir("/"));
}

OWN static void by_realpath(void)
{
    OPAQUE(realpath("/usr/bin/..", NULL));
}

OWN static void build(void)
{
    by_strdup();
    by_getline();
    by_asprintf();
    by_opendir();
    by_realpath();
}

int main(void)
{
    build();
    scrub();
    return 0;
}
