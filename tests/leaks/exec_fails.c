/* SPDX-License-Identifier: MIT */
/*
 * exec_fails.c - an exec that fails, and then an exit: the later verdict stands.
 *
 * total: lost=2/80
 * group: lost blocks=2 bytes=80 groups=1 stack=build<again<main
 */
#include <unistd.h>

#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 40));
}

OWN static void again(int turns)
{
    for (int i = 0; i < turns; i++) {
        build();
        scrub();
        execl("/there/is/no/such/program", "none", (char *)NULL);
    }
}

int main(void)
{
    again(2);
    scrub();
    return 0;
}
