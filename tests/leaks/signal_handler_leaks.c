/* SPDX-License-Identifier: MIT */
/*
 * signal_handler_leaks.c - a block lost in a signal handler: the stack passes the signal frame and goes on to
 * main.
 *
 * total: lost=1/24
 * group: lost blocks=1 bytes=24 stack=build<on_signal
 */
#include <signal.h>

#include "leak.h"

OWN static void build(void)
{
    OPAQUE(calloc(1, 24));
}

static void on_signal(int number)
{
    build();
    OPAQUE(number);
}

int main(void)
{
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    scrub();
    return 0;
}
