/* SPDX-License-Identifier: MIT */
/* soak_malloc.c - soak.h on malloc, whoever provides it: the library, when it is preloaded. */
#include "tests/stress/soak.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

const char *const soak_name = "malloc as it is";

void *soak_malloc(size_t size)
{
    return malloc(size);
}

void *soak_realloc(void *p, size_t size)
{
    return realloc(p, size);
}

void soak_free(void *p)
{
    free(p);
}

pid_t soak_fork(void)
{
    return fork();
}

void soak_thread_exit(void)
{
}

size_t soak_verify(void)
{
    return 0;
}

uint64_t soak_live_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
