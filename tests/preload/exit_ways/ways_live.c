/* SPDX-License-Identifier: MIT */
/* ways_live.c - snapshots of a running program; programs that have closed their own doors. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/preload/exit_ways/ways.h"

/* --- snapshots: one comes about 300 ms after the start ------------------------------------------------------------- */

static volatile unsigned turns[3];
static void *turns_on(void *index)
{
    for (;;)
        turns[(intptr_t)index]++;
}
static void *reads(void *arg)
{
    char c;
    int *ends = arg;
    if (read(ends[0], &c, 1) != 1 || c != 'x')
        _exit(9);
    return NULL;
}
/* The program goes on, its threads too; a read is not interrupted; there is no child and no message for it. */
static int goes_on(void)
{
    int ends[2], status;
    pthread_t reader;
    if (pipe(ends) != 0)
        return 99;
    start(turns_on, (void *)0);
    start(turns_on, (void *)1);
    start(allocates, NULL);
    pthread_create(&reader, NULL, reads, ends);
    for (int i = 0; i < 7; i++) {
        struct timespec step = {0, 100000000};
        while (nanosleep(&step, &step) != 0)
            ;
    }
    if (waitpid(-1, &status, WNOHANG) != -1 || errno != ECHILD)
        return 98;
    unsigned before = turns[0], before1 = turns[1];
    for (int i = 0; turns[0] == before || turns[1] == before1; i++, ms(10))
        if (i == 500)
            return 97;
    if (write(ends[1], "x", 1) != 1 || pthread_join(reader, NULL) != 0)
        return 96;
    syscall(SYS_exit_group, 0);
    return 95;
}
static int in_malloc(void)
{
    struct timespec from, now;
    clock_gettime(CLOCK_MONOTONIC, &from);
    do {
        for (int i = 0; i < 1000; i++)
            free(malloc(50));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - from.tv_sec < 2);
    return 0;
}
static int undumpable(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    return 3;
}

/* --- a program that has closed its own doors ------------------------------------------------------------------------ */

/* Traps the calls of the list, that is: SIGSYS, which kills where it is not expected. */
static void sandbox(const int *calls, size_t count)
{
    struct sock_filter filter[32] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    size_t n = 1;
    for (size_t i = 0; i < count; i++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)n, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        exit(94);
}
static int no_tracing(void)
{
    static const int calls[] = {SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_prctl,
                                SYS_sched_yield};
    start(sleeps, NULL);
    start(waits_for_signals, NULL);
    ms(20);
    sandbox(calls, sizeof(calls) / sizeof(calls[0]));
    return 3;
}
static int no_threads_list(void)
{
    static const int calls[] = {SYS_getdents64, SYS_tgkill, SYS_socket, SYS_prctl, SYS_readlink};
    sandbox(calls, sizeof(calls) / sizeof(calls[0]));
    return 3;
}
static int no_list_of_many(void)
{
    threads100();
    return no_threads_list();
}
static int no_connection(void)
{
    static const int calls[] = {SYS_socket};
    sandbox(calls, 1);
    close_range(3, ~0u, 0);
    return 3;
}

const struct way ways_live[] = {WAY(goes_on),         WAY(in_malloc),  WAY(undumpable),
                                WAY(no_list_of_many), WAY(no_tracing), WAY(no_threads_list),
                                WAY(no_connection),   {NULL, NULL}};
