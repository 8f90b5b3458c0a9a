/* SPDX-License-Identifier: MIT */
/* ways_exits.c - exits and fatal signals. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/preload/exit_ways/ways.h"

static pthread_barrier_t barrier;

/* --- exits ------------------------------------------------------------------------------------------------- */

static int return3(void)
{
    return 3;
}
static int exit3(void)
{
    exit(3);
}
static int fast4(void)
{
    _exit(4);
}
static int fast_c4(void)
{
    _Exit(4);
}
static int quick5(void)
{
    quick_exit(5);
}
static void *exit_there(void *status)
{
    exit((int)(intptr_t)status);
}
static int thread_exit(void)
{
    start(exit_there, (void *)6);
    for (;;)
        pause();
}
static void *ends_later(void *unused)
{
    (void)unused;
    ms(100);
    return NULL;
}
static int last_thread(void)
{
    start(ends_later, NULL);
    pthread_exit(NULL);
}
static void *exits_later(void *unused)
{
    (void)unused;
    ms(100);
    exit(8);
}
static int main_gone(void)
{
    start(exits_later, NULL);
    pthread_exit(NULL);
}
static void exit_fast(void)
{
    _exit(7);
}
static int atexit_fast(void)
{
    atexit(exit_fast);
    return 3;
}
static void *exit_at_once(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&barrier);
    _exit(3);
}
static int many_exits(void)
{
    pthread_barrier_init(&barrier, NULL, 9);
    for (int i = 0; i < 8; i++)
        start(exit_at_once, NULL);
    pthread_barrier_wait(&barrier);
    _exit(3);
}

static void count_up(void)
{
    (*word)++;
}
__attribute__((destructor)) static void destructor(void)
{
    if (word)
        count_up();
}
static int handlers(void)
{
    map_page();
    atexit(count_up);
    atexit(count_up);
    printf("no newline");
    return 0;
}

/* --- signals ------------------------------------------------------------------------------------------------ */

static int by_abort(void)
{
    abort();
}
static int by_segv(void)
{
    *(volatile int *)8 = 1;
    return 0;
}
static int by_term(void)
{
    kill(getpid(), SIGTERM);
    for (;;)
        pause();
}
static int by_kill(void)
{
    kill(getpid(), SIGKILL);
    return 0;
}
static void leave_fast(int signal)
{
    _exit(signal);
}
static int handled_term(void)
{
    signal(SIGTERM, leave_fast);
    return by_term();
}
static int ignored_term(void)
{
    signal(SIGTERM, SIG_IGN);
    kill(getpid(), SIGTERM);
    return 0;
}
/* A handler that ends the program, in the middle of malloc more likely than not. */
static int handler_in_malloc(void)
{
    signal(SIGVTALRM, leave_fast);
    struct itimerval_alias {
        struct timeval a, b;
    } t = {{0, 0}, {0, 50000}};
    syscall(SYS_setitimer, 1, &t, NULL);
    for (;;)
        free(malloc(100));
}
static int term_in_malloc(void)
{
    pid_t target = getpid();
    if (fork() == 0) {
        ms(80);
        kill(target, SIGTERM);
        syscall(SYS_exit_group, 0);
    }
    for (;;)
        free(malloc(100));
}

const struct way ways_exits[] = {WAY(return3),        WAY(exit3),        WAY(fast4),
                                 WAY(fast_c4),        WAY(quick5),       WAY(thread_exit),
                                 WAY(last_thread),    WAY(main_gone),    WAY(atexit_fast),
                                 WAY(many_exits),     WAY(handlers),     WAY(by_abort),
                                 WAY(by_segv),        WAY(by_term),      WAY(by_kill),
                                 WAY(handled_term),   WAY(ignored_term), WAY(handler_in_malloc),
                                 WAY(term_in_malloc), {NULL, NULL}};
