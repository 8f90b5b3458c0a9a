/* SPDX-License-Identifier: MIT */
/*
 * clean_timer_threads.c - timers that start a thread each time. libc's helper waits for a signal that it keeps blocked;
 * a walk of its stack must not unblock it, or the next expiry ends the process.
 *
 * held: 0
 * reachable: 1
 */
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "leak.h"

static atomic_int calls;

static void on_time(union sigval value)
{
    (void)value;
    calls++;
}

int main(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_time};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};

    timer_t timers[3];

    for (int i = 0; i < 3; i++) {
        if (timer_create(CLOCK_MONOTONIC, &event, &timers[i]) != 0 ||
            timer_settime(timers[i], 0, &often, NULL) != 0)
            return 1;
    }
    for (int waited = 0; calls < 30 && waited < 10000; waited++)
        usleep(1000);
    for (int i = 0; i < 3; i++)
        timer_delete(timers[i]);
    usleep(300000); /* what libc hands to a thread that is just starting is not this program's subject */
    return calls < 30;
}
