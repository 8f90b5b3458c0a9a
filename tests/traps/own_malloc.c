/* SPDX-License-Identifier: MIT */
/*
 * A program with a malloc of its own, as large ones have: the C library's blocks come from it too, and a preloaded
 * library must get none of them. With `threads`: in several at once.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM ((size_t)256 << 20)

/* Never freed; the size stands before the block. */
static char room[ROOM] __attribute__((aligned(16)));
static size_t taken;
static int mallocs, frees;

static int is_own(const void *p)
{
    return (const char *)p >= room && (const char *)p < room + ROOM;
}

static void fail(const char *what)
{
    (void)!write(STDERR_FILENO, what, strlen(what));
    _exit(9);
}

void *malloc(size_t size)
{
    if (size > ROOM / 2) {
        errno = ENOMEM;
        return NULL;
    }
    size = (size + 31) & ~(size_t)15;
    size_t at = __atomic_fetch_add(&taken, size, __ATOMIC_RELAXED);
    if (at + size > ROOM)
        fail("own malloc: no room\n");
    __atomic_add_fetch(&mallocs, 1, __ATOMIC_RELAXED);
    *(size_t *)(void *)(room + at) = size - 16;
    return room + at + 16;
}

void free(void *p)
{
    if (p && !is_own(p))
        fail("own free: of a foreign block\n");
    __atomic_add_fetch(&frees, 1, __ATOMIC_RELAXED);
}

void *calloc(size_t count, size_t size)
{
    return malloc(count * size);
}

void *realloc(void *p, size_t size)
{
    void *q = malloc(size);
    if (p && q) {
        size_t old = ((size_t *)p)[-2];
        memcpy(q, p, old < size ? old : size);
    }
    return q;
}

static void *uses_the_c_library(void *unused)
{
    for (int i = 0; i < 500; i++) {
        char *copy = strdup("a copy"), *text = NULL, *memory = NULL;
        size_t length;
        FILE *stream = open_memstream(&memory, &length);
        fprintf(stream, "%d", i);
        fclose(stream);
        if (!is_own(copy) || !is_own(memory) || asprintf(&text, "%d", i) < 0 || !is_own(text))
            fail("the C library's blocks are not ours\n");
        free(copy), free(memory), free(text);
    }
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t threads[4];
    int count = argc > 1 && strcmp(argv[1], "threads") == 0 ? 4 : 0;
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, uses_the_c_library, NULL) != 0)
            fail("no thread\n");
    uses_the_c_library(NULL);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    return mallocs < 1500 * (count + 1) || frees < 1500 * (count + 1);
}
