/* SPDX-License-Identifier: MIT */
/*
 * ways.c - one small program per way of ending, and per trouble on the way: `ways CASE`. What the companion should be
 * told is in the file `cases`.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/preload/exit_ways/ways.h"

char *self;
volatile uint64_t *word;

void map_page(void)
{
    unsigned char *page = mmap((void *)WAYS_PAGE, WAYS_PAGES * 4096, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    word = (uint64_t *)page;
    for (size_t i = 0; i < (WAYS_PAGES - 1) * 4096 - 5; i++)
        page[4096 + 5 + i] = WAYS_PATTERN(i);
    mprotect(page + (WAYS_PAGES - 2) * 4096, 4096, PROT_NONE);
}

void start(void *(*routine)(void *), void *arg)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, routine, arg) != 0)
        abort();
    pthread_detach(thread);
}

void ms(unsigned n)
{
    usleep(n * 1000);
}

void *sleeps(void *unused)
{
    (void)unused;
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    static const struct way *const tables[] = {ways_exits, ways_children, ways_threads, ways_live};
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    self = path;
    for (size_t t = 0; argc > 1 && t < sizeof(tables) / sizeof(tables[0]); t++)
        for (const struct way *way = tables[t]; way->name; way++)
            if (!strcmp(argv[1], way->name))
                return way->run();
    return 100;
}
