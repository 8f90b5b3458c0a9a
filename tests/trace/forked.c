/* SPDX-License-Identifier: MIT */
/* forked.c - a child that is forked by the raw system call, past all handlers, allocates; then both are killed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BARRIER() __asm__ volatile("" ::: "memory")

static __attribute__((noinline)) void *place_parent(void)
{
    void *p = malloc(100);
    BARRIER();
    return p;
}

static __attribute__((noinline)) void *place_child(void)
{
    void *p = malloc(200);
    BARRIER();
    return p;
}

int main(void)
{
    static void *volatile kept[1010];
    int count = 0;

    while (count < 10)
        kept[count++] = place_parent();
    pid_t pid = (pid_t)syscall(SYS_fork);
    if (pid == 0) {
        free(kept[0]); /* its parent's: counted nowhere */
        while (count < 1010)
            kept[count++] = place_child();
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
    printf("%d\n", (int)pid);
    fflush(stdout);
    kill(getpid(), SIGKILL);
    return 0;
}
