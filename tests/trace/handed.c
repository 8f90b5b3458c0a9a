/* SPDX-License-Identifier: MIT */
/* Blocks that a thread frees which never allocates; then the process is killed. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCKS    1000u
#define BARRIER() __asm__ volatile("" ::: "memory")

static void *blocks[BLOCKS];

static __attribute__((noinline)) void *place_given(void)
{
    void *p = malloc(100);
    BARRIER();
    return p;
}

static __attribute__((noinline)) void *place_kept(void)
{
    void *p = malloc(50);
    BARRIER();
    return p;
}

static void *free_all(void *unused)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return unused;
}

int main(void)
{
    static void *volatile kept;
    pthread_t thread;
    for (unsigned i = 0; i < BLOCKS; i++)
        blocks[i] = place_given();
    kept = place_kept();
    if (pthread_create(&thread, NULL, free_all, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    (void)kept;
    return kill(getpid(), SIGKILL);
}
