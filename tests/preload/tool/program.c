/* SPDX-License-Identifier: MIT */
/* program.c - what the command's tests run: it leaks or not, and ends as its arguments say. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile sink;

static void __attribute__((noinline)) leak_here(void)
{
    sink = malloc(77);
    sink = NULL;
}

static void __attribute__((noinline)) wipe_stack(void)
{
    char wiped[65536]; /* deeper than the recorder went: stale words may count as doubtful holders */
    memset(wiped, 0, sizeof(wiped));
    __asm__ volatile("" : : "r"(wiped) : "memory");
}

static int child(int (*what)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        exit(what());
    waitpid(pid, &status, 0);
    return 0;
}

static int leaks(void)
{
    leak_here();
    wipe_stack();
    return 0;
}

static int is_killed(void)
{
    raise(SIGKILL);
    return 0;
}

/* A snapshot may end a sleep early, and so the rest is slept, too. */
static int stays(unsigned seconds)
{
    while ((seconds = sleep(seconds)) > 0)
        ;
    return 0;
}

/* Words: leak, child-leaks, child-killed, child-stays, close-all, say, wait, wait-long, raw-exit, kill=N, exit=N. */
static void obey(const char *word)
{
    if (strcmp(word, "leak") == 0)
        leaks();
    else if (strcmp(word, "child-leaks") == 0)
        child(leaks);
    else if (strcmp(word, "child-killed") == 0)
        child(is_killed);
    else if (strcmp(word, "child-stays") == 0 && fork() == 0)
        exit(stays(3));
    else if (strcmp(word, "close-all") == 0)
        closefrom(3);
    else if (strcmp(word, "say") == 0)
        puts("said");
    else if (strcmp(word, "wait") == 0)
        stays(3);
    else if (strcmp(word, "wait-long") == 0)
        stays(60); /* until it is killed */
    else if (strcmp(word, "raw-exit") == 0)
        syscall(SYS_exit_group, 0);
    else if (strncmp(word, "kill=", 5) == 0)
        raise(atoi(word + 5));
    else if (strncmp(word, "exit=", 5) == 0)
        exit(atoi(word + 5));
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        obey(argv[i]);
    return 0;
}
