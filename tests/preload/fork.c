/* SPDX-License-Identifier: MIT */
/* fork while other threads are inside malloc; children allocate, free the parent's blocks, start threads,
 * fork again. */
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"

#define FORKS 150

extern char **environ;
static volatile int stop;

static void *busy(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    void *slots[64] = {0};
    while (!stop) {
        unsigned i = rand_r(&seed) % 64;
        free(slots[i]);
        slots[i] = malloc(rand_r(&seed) % 5000);
    }
    for (int i = 0; i < 64; i++)
        free(slots[i]);
    return NULL;
}

static void *in_child(void *arg)
{
    for (int i = 0; i < 100; i++)
        free(malloc((size_t)i * 10));
    return arg;
}

static void live_as_child(void **inherited, int depth)
{
    pthread_t thread;
    alarm(20);
    for (int i = 0; i < 100; i++)
        free(inherited[i]);
    for (int i = 0; i < 1000; i++)
        free(malloc((size_t)i));
    if (pthread_create(&thread, NULL, in_child, NULL) != 0)
        _exit(3);
    pthread_join(thread, NULL);
    if (depth == 0)
        _exit(0);
    for (int i = 0; i < 100; i++)
        inherited[i] = malloc(100);
    pid_t pid = fork();
    if (pid == 0)
        live_as_child(inherited, depth - 1);
    int status = 0;
    waitpid(pid, &status, 0);
    _exit(status ? 4 : 0);
}

static void handler_allocates(void)
{
    free(malloc(333));
}

static void forks_in_a_crowd(void)
{
    pthread_t threads[3];
    void *blocks[100];
    for (uintptr_t i = 0; i < 3; i++)
        EXPECT(pthread_create(&threads[i], NULL, busy, (void *)(i + 1)) == 0);
    for (int i = 0; i < FORKS; i++) {
        for (int j = 0; j < 100; j++)
            blocks[j] = malloc((size_t)j * 20);
        pid_t pid = fork();
        if (pid == 0)
            live_as_child(blocks, i % 10 == 0);
        int status = 0;
        EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
        for (int j = 0; j < 100; j++)
            free(blocks[j]);
    }
    stop = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

static void vfork_and_spawn_share_quietly(void)
{
    for (int i = 0; i < 20; i++) {
        char *arguments[] = {(char *)(uintptr_t) "true", NULL};
        pid_t pid;
        int status = 1;
        EXPECT(posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ) == 0);
        EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
        pid = vfork();
        if (pid == 0)
            _exit(0);
        EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
        free(malloc(100));
    }
}

int main(void)
{
    alarm(120);
    pthread_atfork(handler_allocates, handler_allocates, handler_allocates);
    forks_in_a_crowd();
    vfork_and_spawn_share_quietly();
    return expect_end();
}
