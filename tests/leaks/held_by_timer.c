/* SPDX-License-Identifier: MIT */
/*
 * held_by_timer.c - the only pointer is the sigev_value of a POSIX timer, in the kernel: readable in
 * /proc/PID/timers, and no leak.
 *
 * needs: /proc/self/timers
 * held: 1
 */
#include <signal.h>
#include <time.h>

#include "leak.h"

static timer_t timer;

OWN static void build(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};

    event.sigev_value.sival_ptr = OPAQUE(calloc(1, 64));
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        exit(1);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
