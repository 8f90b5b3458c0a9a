/* SPDX-License-Identifier: MIT */
/*
 * held_by_exit_frame.c - exit() is called three frames deep: what a local variable of each of them holds is
 * not lost.
 *
 * total:
 */
#include "leak.h"

OWN static void build(void *volatile *place)
{
    *place = OPAQUE(calloc(1, 64));
}

OWN static void leave(void)
{
    void *volatile local;

    build(&local);
    scrub();
    exit(local ? 0 : 1);
}

OWN static void middle(void)
{
    void *volatile local;

    build(&local);
    leave();
    OPAQUE(local);
}

int main(void)
{
    void *volatile local;

    build(&local);
    middle();
    scrub();
    return local != NULL;
}
