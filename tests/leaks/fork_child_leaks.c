/* SPDX-License-Identifier: MIT */
/*
 * fork_child_leaks.c - a forked child loses a block and its parent none: the child has a verdict of its own.
 *
 * total:
 * child-total: lost=1/72
 * child-group: lost blocks=1 bytes=72 stack=build<child<main
 */
#include <sys/wait.h>
#include <unistd.h>

#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 72));
}

OWN static void child(void)
{
    build();
    scrub();
    exit(0);
}

int main(void)
{
    pid_t pid = fork();

    if (pid == 0)
        child();
    waitpid(pid, NULL, 0);
    scrub();
    return 0;
}
