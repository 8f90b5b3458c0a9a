/* SPDX-License-Identifier: MIT */
/*
 * ages.c - blocks lost at known times: from a stack that is new, and from one that is known by then.
 *
 * total: lost=10/448
 * group: lost blocks=2 groups=1 stack=leak<main age=1..3
 * group: lost blocks=8 groups=1 stack=drip<main age=1..2.75
 */
#include <time.h>

#include "leak.h"

/* ms after the first one asked for, however long what came before has taken. */
OWN static void wait_until(long ms)
{
    static struct timespec first;
    if (!first.tv_sec)
        clock_gettime(CLOCK_MONOTONIC, &first);
    long ns = first.tv_nsec + ms % 1000 * 1000000;
    struct timespec then = {first.tv_sec + ms / 1000 + ns / 1000000000, ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) != 0)
        ;
}

OWN static void leak(void)
{
    memset(OPAQUE(malloc(64)), 1, 64);
}

OWN static void drip(void)
{
    memset(OPAQUE(malloc(40)), 1, 40);
}

int main(void)
{
    for (long ms = 0; ms <= 2000; ms += 250) {
        wait_until(ms);
        if (ms > 0)
            drip();
        if (ms % 2000 == 0)
            leak();
    }
    wait_until(3000);
    scrub();
    return 0;
}
