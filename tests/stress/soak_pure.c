/* SPDX-License-Identifier: MIT */
/* soak_pure.c - soak.h on the pure allocator. */
#include "tests/stress/soak.h"

#include <stdio.h>
#include <unistd.h>

#include "allocator/fast.h"

const char *const soak_name = "the pure allocator";

void *soak_malloc(size_t size)
{
    void *p = alloc_malloc_fast(size);
    return p != NULL ? p : alloc_malloc(size);
}

void *soak_realloc(void *p, size_t size)
{
    void *moved = NULL;
    return alloc_realloc(p, size, &moved) == ALLOC_OK ? moved : NULL;
}

void soak_free(void *p)
{
    if (!alloc_free_fast(p) && alloc_free(p) != ALLOC_OK)
        fprintf(stderr, "soak: a good free was refused\n");
}

pid_t soak_fork(void)
{
    alloc_fork_prepare();
    pid_t child = fork();
    if (child == 0)
        alloc_fork_child();
    else
        alloc_fork_parent();
    return child;
}

void soak_thread_exit(void)
{
    alloc_thread_exit();
}

static void complain(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "soak: %s\n", line);
}

size_t soak_verify(void)
{
    return alloc_verify(complain, NULL);
}

uint64_t soak_live_bytes(void)
{
    struct alloc_stats stats;
    alloc_stats_read(&stats);
    return stats.live_capacity;
}
