/* SPDX-License-Identifier: MIT */
/* Opened and closed: its fork handlers, which allocate, go with it. */
#include <pthread.h>
#include <stdlib.h>

static int *runs;

static void runs_in_fork(void)
{
    if (runs)
        ++*runs;
    free(malloc(333));
}

void plugin_counts(int *count);
void plugin_counts(int *count)
{
    runs = count;
    pthread_atfork(runs_in_fork, runs_in_fork, runs_in_fork);
}
