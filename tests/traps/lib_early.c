/* SPDX-License-Identifier: MIT */
/* Allocates as early as a library can: in the resolver of an indirect function, and in its constructor. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *blocks[3];
int early_answer(void);
void *early_block(int which);

static void *take(size_t size)
{
    void *p = malloc(size);
    if (p)
        memset(p, 'e', size);
    return p;
}

static int answers(void)
{
    return 42;
}

/* Runs while the loader relocates: nothing of the C library's own start-up has happened. */
static int (*resolve(void))(void)
{
    return answers;
}
int early_answer(void) __attribute__((ifunc("resolve")));

static void *counts(void *unused)
{
    for (int i = 0; i < 1000; i++)
        free(malloc((size_t)i));
    return unused;
}

static void be_busy(void)
{
    pthread_t thread;
    int status;
    if (pthread_create(&thread, NULL, counts, NULL) == 0)
        pthread_join(thread, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        counts(NULL);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        abort();
}

__attribute__((constructor(101))) static void early(void)
{
    blocks[0] = take(100);
    blocks[1] = take(3000);
    blocks[2] = take(300000);
    if (getenv("EARLY_IS_BUSY"))
        be_busy();
}

void *early_block(int which)
{
    return blocks[which];
}
