/* SPDX-License-Identifier: MIT */
/*
 * exit_status.c - the program's own exit code passes through beside a leak.
 *
 * exit: 77
 * total: lost=1/40
 * group: lost blocks=1 stack=build<main
 */
#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 40));
}

int main(void)
{
    build();
    scrub();
    return 77;
}
