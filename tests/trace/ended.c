/* SPDX-License-Identifier: MIT */
/* ended exec: an exec fails, and then blocks are allocated by more stacks than there was room for, as it seemed to end; then
 * the process is killed. ended wait: it ends when it is told so. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAYS      14u
#define BARRIER() __asm__ volatile("" ::: "memory")

static __attribute__((noinline)) void *place_before(void)
{
    void *p = malloc(10);
    BARRIER();
    return p;
}

static __attribute__((noinline)) void *place_after(void)
{
    void *p = malloc(20);
    BARRIER();
    return p;
}

/* From one of two places at each level: 2^WAYS stacks. */
static __attribute__((noinline)) void *descend(unsigned levels, unsigned way)
{
    void *p;

    if (levels == 0) {
        p = place_after();
    } else if (way & 1) {
        p = descend(levels - 1, way >> 1);
        __asm__ volatile("" : : "i"(1)); /* or the compiler makes the two calls one */
    } else {
        p = descend(levels - 1, way >> 1);
        __asm__ volatile("" : : "i"(2));
    }
    BARRIER();
    return p;
}

int main(int count, char **words)
{
    static void *volatile kept;

    if (count != 2)
        return 2;
    kept = place_before();
    if (strcmp(words[1], "wait") == 0) {
        puts("ready");
        fflush(stdout);
        return getchar() == EOF;
    }
    execl("/nowhere", "nowhere", (char *)NULL);
    for (unsigned way = 0; way < 1u << WAYS; way++)
        kept = descend(WAYS, way);
    (void)kept;
    return kill(getpid(), SIGKILL);
}
