/* SPDX-License-Identifier: MIT */
/* malloc and free in a signal handler that interrupts malloc and free of its own thread. */
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "expect.h"

static volatile int hits;

static void on_tick(int number)
{
    (void)number;
    int saved = errno;
    void *p = malloc(hits % 3000);
    free(realloc(p, 4000));
    hits++;
    errno = saved;
}

static void churn(void)
{
    static void *slots[256];
    unsigned seed = 1;
    for (long i = 0; i < 3000000 && hits < 250; i++) {
        unsigned at = rand_r(&seed) % 256;
        void *gone = slots[at];
        slots[at] = NULL;
        free(gone);
        slots[at] = malloc(rand_r(&seed) % 2000);
    }
}

int main(void)
{
    alarm(60);
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_NODEFER};
    sigaction(SIGPROF, &action, NULL);
    struct itimerval timer = {{0, 500}, {0, 500}};
    setitimer(ITIMER_PROF, &timer, NULL);
    churn();
    EXPECT(hits > 0);
    timer = (struct itimerval){{0, 0}, {0, 0}};
    setitimer(ITIMER_PROF, &timer, NULL);
    for (int i = 0; i < 10000; i++)
        free(malloc((size_t)i));
    return expect_end();
}
