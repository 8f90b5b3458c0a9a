/* SPDX-License-Identifier: MIT */
/*
 * stack_100.c - lost a hundred calls deep: the stack is whole, up to main.
 *
 * total: lost=1/24
 * group: lost blocks=1 bytes=24 frames=102 times=descend:100
 */
#include "leak.h"

OWN static void descend(int n)
{
    if (n == 1)
        OPAQUE(calloc(1, 24));
    else
        descend(n - 1);
    OPAQUE(&n);
}

int main(void)
{
    descend(100);
    scrub();
    return 0;
}
