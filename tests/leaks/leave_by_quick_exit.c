/* SPDX-License-Identifier: MIT */
/*
 * leave_by_quick_exit.c - lost, and the program leaves by quick_exit().
 *
 * reason: quick_exit
 * exit: 4
 * total: lost=1/40
 * group: lost blocks=1 bytes=40 stack=build<main
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
    quick_exit(4);
}
