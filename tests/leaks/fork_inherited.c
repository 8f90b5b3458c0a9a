/* SPDX-License-Identifier: MIT */
/*
 * fork_inherited.c - a forked child forgets a block its parent allocated: inherited, and not the child's
 * leak.
 *
 * total:
 * child-total: inherited=1/72
 */
#include <sys/wait.h>
#include <unistd.h>

#include "leak.h"

static void *held;

OWN static void build(void)
{
    held = OPAQUE(calloc(1, 72));
}

OWN static void child(void)
{
    held = NULL;
    OPAQUE(&held);
    scrub();
    exit(0);
}

int main(void)
{
    pid_t pid;

    build();
    pid = fork();
    if (pid == 0)
        child();
    waitpid(pid, NULL, 0);
    scrub();
    return 0;
}
