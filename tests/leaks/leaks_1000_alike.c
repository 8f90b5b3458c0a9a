/* SPDX-License-Identifier: MIT */
/*
 * leaks_1000_alike.c - a thousand blocks lost from one stack are one finding.
 *
 * total: lost=1000/56000
 * group: lost blocks=1000 bytes=56000 groups=1 stack=lose<build<main
 */
#include "leak.h"

OWN static void lose(void)
{
    OPAQUE(calloc(1, 56));
}

OWN static void build(void)
{
    for (int i = 0; i < 1000; i++)
        lose();
}

int main(void)
{
    build();
    scrub();
    return 0;
}
