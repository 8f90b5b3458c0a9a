/* SPDX-License-Identifier: MIT */
/* ways_threads.c - threads to be stopped, in all moods. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/preload/exit_ways/ways.h"

/* --- threads ------------------------------------------------------------------------------------------------------- */

static void *spins(void *unused)
{
    (void)unused;
    for (;;)
        __asm__ volatile("pause" : : : "memory");
}
void *allocates(void *unused)
{
    (void)unused;
    for (;;)
        free(malloc(100));
}
int threads100(void)
{
    for (int i = 0; i < 100; i++)
        start(i % 4 == 0 && i < 16 ? allocates : i % 4 == 1 && i < 16 ? spins : sleeps, NULL);
    ms(20);
    return 0;
}
/* A signal's handler ends pause(): whoever is let go before the look is over is not there to be looked at. */
static void *pauses(void *unused)
{
    pause();
    return unused;
}
static int start_1000(void *(*function)(void *))
{
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 1000; i++)
        if (pthread_create(&thread, &small, function, NULL) != 0)
            return 99;
    return 0;
}
static int threads1000(void)
{
    return start_1000(pauses);
}
static int threads1000_started(void)
{
    int code = start_1000(sleeps);
    ms(700); /* a snapshot comes meanwhile */
    return code;
}
static void *blocks_all(void *unused)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    return sleeps(unused);
}
static int blocked(void)
{
    start(blocks_all, NULL);
    start(sleeps, NULL);
    ms(50);
    return 0;
}
/* A signal left behind where it is blocked would turn up in the program's sigwait or signalfd one day. */
static void *blocks_and_looks(void *unused)
{
    (void)unused;
    sigset_t all, pending;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    ms(700);
    sigpending(&pending);
    _exit(sigismember(&pending, SIGRTMAX - 3) || sigismember(&pending, SIGURG) ? 9 : 0);
}
static int nothing_pending(void)
{
    start(blocks_and_looks, NULL);
    for (;;)
        pause();
}
void *waits_for_signals(void *unused)
{
    (void)unused;
    sigset_t all;
    int signal;
    sigfillset(&all);
    sigwait(&all, &signal);
    printf("woken by %d\n", signal);
    fflush(stdout);
    _exit(9);
}
static int sigwaiter(void)
{
    start(waits_for_signals, NULL);
    ms(50);
    return 0;
}
static int sigwaiter_waits(void)
{
    start(waits_for_signals, NULL);
    ms(700);
    return 0;
}
static int signal_reset(void)
{
    start(sleeps, NULL);
    for (int i = 1; i <= SIGRTMAX; i++)
        signal(i, SIG_DFL);
    ms(50);
    return 0;
}
static void leaves_at_signal(int signal)
{
    _exit(signal);
}
static int signal_taken(void)
{
    signal(SIGRTMAX - 3, leaves_at_signal);
    return threads100();
}
static void *short_life(void *unused)
{
    return unused;
}
static void *breeds(void *unused)
{
    (void)unused;
    pthread_t thread;
    for (;;)
        if (pthread_create(&thread, NULL, short_life, NULL) == 0)
            pthread_join(thread, NULL);
}
static int churn(void)
{
    for (int i = 0; i < 4; i++)
        start(breeds, NULL);
    ms(200);
    return 0;
}
static void *holds_rbx(void *unused)
{
    (void)unused;
    uint64_t magic = WAYS_RBX;
    __asm__ volatile("movq %0, %%rbx\n1: pause\n jmp 1b" : : "r"(magic) : "rbx");
    return NULL;
}
static int in_register(void)
{
    start(holds_rbx, NULL);
    ms(20);
    return 0;
}
static void *changes_page(void *unused)
{
    (void)unused;
    for (;;)
        (*word)++;
}
static int stands_still(void)
{
    map_page();
    for (int i = 0; i < 4; i++)
        start(changes_page, NULL);
    ms(50);
    return 0;
}
static void *changes_page_slowly(void *unused)
{
    (void)unused;
    for (;; usleep(500))
        (*word)++;
}
static void *breeds_changers(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++)
        start(changes_page_slowly, NULL);
    return sleeps(NULL);
}
/* Threads that start while the others are being stopped. */
static int still_growing(void)
{
    map_page();
    start(breeds_changers, NULL);
    start(breeds_changers, NULL);
    ms(5);
    return 0;
}
static int memory(void)
{
    map_page();
    *word = 77;
    return 0;
}

const struct way ways_threads[] = {
    WAY(threads100),      WAY(threads1000),     WAY(threads1000_started), WAY(blocked),      WAY(sigwaiter),
    WAY(sigwaiter_waits), WAY(signal_reset),    WAY(signal_taken),        WAY(churn),        WAY(in_register),
    WAY(memory),          WAY(nothing_pending), WAY(still_growing),       WAY(stands_still), {NULL, NULL}};
