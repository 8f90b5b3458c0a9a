/* SPDX-License-Identifier: MIT */
/*
 * leave_by_exec.c - lost, and the program becomes another one.
 *
 * reason: exec
 * exec: true
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 stack=build<main
 */
#include <unistd.h>

#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 40));
}

int main(void)
{
    build();
    scrub();
    execl("/bin/true", "true", (char *)NULL);
    return 1;
}
