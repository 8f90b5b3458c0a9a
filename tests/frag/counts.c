/* SPDX-License-Identifier: MIT */
/*
 * counts.c FILE MODE - a program that keeps its own account of what it asked for, and reads its own /proc.
 *
 *   plain    sizes that drift upwards; half of the old ones die
 *   threads  four threads at once
 *   fork     as plain, and a child that allocates as much again while the parent waits
 *   spawn    as plain, and a child that runs this program anew, silent, while the parent waits
 *   exec     allocates, then runs itself anew as plain: only that counts
 *   vast     one block that is never touched, beside plain ones
 *
 * At its peak, which is its end, it appends a line to FILE: peak and end bytes asked for, and RSS, Anonymous, LazyFree
 * in bytes. Everything is alive then: no exit handler, no destructor frees.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS 60000u

static atomic_ulong live, peak;
static void *table[4][BLOCKS];
static uint32_t size_of[4][BLOCKS];

static void count(long bytes)
{
    unsigned long now = atomic_fetch_add(&live, (unsigned long)bytes) + (unsigned long)bytes,
                  most = atomic_load(&peak);
    while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
        ;
}

static uint32_t next_number(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void give(unsigned lane, unsigned i)
{
    free(table[lane][i]);
    count(-(long)size_of[lane][i]);
    table[lane][i] = NULL;
}

static void take(unsigned lane, unsigned i, uint32_t size)
{
    table[lane][i] = i % 7 == 0 ? calloc(1, size) : malloc(size);
    memset(table[lane][i], 1, size);
    size_of[lane][i] = size;
    count(size);
}

static void *work(void *arg)
{
    unsigned lane = (unsigned)(uintptr_t)arg;
    uint32_t state = 4711 + lane;
    for (unsigned i = 0; i < BLOCKS; i++) {
        take(lane, i, 16 + next_number(&state) % (32 + i / 100));
        if (i >= 1000 && next_number(&state) % 2)
            give(lane, i - 1000);
        if (i % 50 == 0) { /* grows in place or moves */
            table[lane][i] = realloc(table[lane][i], size_of[lane][i] + 500);
            memset(table[lane][i], 2, size_of[lane][i] + 500);
            size_of[lane][i] += 500;
            count(500);
        }
    }
    return NULL;
}

static unsigned long field(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoul(at + strlen(name), NULL, 10) * 1024 : 0;
}

/* Without stdio: its buffers would be part of the account. */
static void report(const char *path)
{
    char text[4096], line[256];
    FILE *in = fopen("/proc/self/smaps_rollup", "r");
    text[in ? fread(text, 1, sizeof(text) - 1, in) : 0] = '\0';
    if (in)
        fclose(in);
    int n = snprintf(line, sizeof(line), "%lu %lu %lu %lu %lu\n", atomic_load(&peak), atomic_load(&live),
                     field(text, "\nRss:"), field(text, "\nAnonymous:"), field(text, "\nLazyFree:"));
    FILE *out = fopen(path, "a");
    if (out) {
        fwrite(line, 1, (size_t)n, out);
        fclose(out);
    }
}

static void run_threads(void)
{
    pthread_t thread[4];
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, work, (void *)i);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[2] : "plain";
    if (strcmp(mode, "exec") == 0) {
        work((void *)0);
        work((void *)1);
        execl(argv[0], argv[0], argv[1], "plain", (char *)NULL);
        return 1;
    }
    if (strcmp(mode, "threads") == 0)
        run_threads();
    else
        work((void *)0);
    if (strcmp(mode, "fork") == 0) {
        pid_t child = fork();
        if (child == 0) {
            work((void *)1);
            work((void *)2);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    if (strcmp(mode, "spawn") == 0) {
        pid_t child = fork();
        if (child == 0) {
            execl(argv[0], argv[0], argv[1], "silent", (char *)NULL);
            _exit(1);
        }
        waitpid(child, NULL, 0);
    }
    if (strcmp(mode, "silent") == 0)
        return 0;
    if (strcmp(mode, "vast") == 0) {
        void *volatile vast = malloc(8u << 20);
        (void)vast;
        count(8 << 20);
    }
    usleep(100000); /* so that the end is seen from outside, too */
    report(argv[1]);
    return 0;
}
