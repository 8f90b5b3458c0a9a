/* SPDX-License-Identifier: MIT */
/*
 * vfork_exec.c - a child by vfork() becomes another program; the parent loses one block and has its own
 * verdict.
 *
 * children: 1
 * total: lost=1/40
 * group: lost blocks=1 stack=build<main
 * child-total:
 */
#include <sys/wait.h>
#include <unistd.h>

#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 40));
}

OWN static void spawn(void)
{
    pid_t pid = vfork();

    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
}

int main(void)
{
    spawn();
    build();
    scrub();
    return 0;
}
