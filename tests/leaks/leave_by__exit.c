/* SPDX-License-Identifier: MIT */
/*
 * leave_by__exit.c - lost, and the program leaves by _exit().
 *
 * reason: _exit
 * exit: 4
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
    _exit(4);
}
