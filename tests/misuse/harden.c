/* SPDX-License-Identifier: MIT */
/* What only harden=1 sees, one crime a run: harden NAME; and programs that do nothing wrong and must not notice it. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static char *hidden(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

static void expect(int so, const char *what)
{
    if (so)
        return;
    fprintf(stderr, "not so: %s\n", what);
    exit(1);
}

/* --- crimes --------------------------------------------------------------------------------------------- */

static void overflow_of_a_leak(void)
{
    hidden(malloc(100))[100] = 1;
}

static void off_by_one_zero(void)
{
    char *p = malloc(24);
    strcpy(p, "exactly twenty-three by");
    hidden(p)[24] = 0;
    free(p);
}

static void overflow_of_nothing(void)
{
    char *p = malloc(0);
    *hidden(p) = 1;
    free(p);
}

static void overflow_of_calloc(void)
{
    char *p = calloc(10, 20);
    hidden(p)[203] = 1;
    free(p);
}

static void overflow_of_aligned(void)
{
    char *p = aligned_alloc(4096, 4096);
    hidden(p)[4096] = 1;
    free(p);
}

static void overflow_before_realloc(void)
{
    char *p = malloc(1000);
    hidden(p)[1001] = 1;
    p = realloc(p, 990);
    free(p);
}

static void overflow_before_move(void)
{
    char *p = malloc(1000);
    hidden(p)[1000] = 1;
    p = realloc(p, 100000);
    free(p);
}

static void overflow_of_the_shrunk(void)
{
    char *p = realloc(malloc(100), 90);
    hidden(p)[92] = 1;
    free(p);
}

static void write_seen_at_exit(void)
{
    char *p = malloc(64);
    free(p);
    hidden(p)[40] = 1;
}

static void write_seen_on_leaving(void)
{
    char *p = malloc(64);
    free(p);
    hidden(p)[63] = 1;
    for (int i = 0; i < 20000; i++)
        free(hidden(malloc(2000)));
    puts("all gone");
}

static void write_after_move(void)
{
    char *p = malloc(500), *q = realloc(p, 5000);
    hidden(p)[499] = 1;
    free(q);
}

static void overflow_by_pages(void)
{
    char *p = malloc(MIB);
    memset(hidden(p), 1, MIB + (64 << 10));
    puts("nothing stopped it");
}

static void overflow_by_pages_mapped(void)
{
    char *p = malloc(5 * MIB);
    memset(hidden(p), 1, 5 * MIB + (8 << 10));
    puts("nothing stopped it");
}

static void go(int signal)
{
    (void)signal;
    if (write(STDOUT_FILENO, "its handler\n", 12) == 12)
        _exit(5);
}

/* abort() is the library's, in the middle of its work; the handler is entered all the same. */
static void overflow_with_a_handler(void)
{
    signal(SIGABRT, go);
    overflow_of_calloc();
}

/* --- nothing wrong -------------------------------------------------------------------------------------- */

static void sizes_are_as_asked(void)
{
    static const size_t sizes[] = {0,    1,     7,     8,     24,  100,     1000,
                                   1024, 32760, 32768, 40000, MIB, 5 * MIB, 20 * MIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *p = malloc(sizes[i]), *z = calloc(1, sizes[i]);
        expect(malloc_usable_size(p) == sizes[i] && malloc_usable_size(z) == sizes[i], "usable size");
        expect((uintptr_t)p % 16 == 0 && (uintptr_t)z % 16 == 0, "aligned");
        memset(p, 'p', sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            expect(z[k] == 0, "zeroed");
        free(z);
        p = realloc(p, sizes[i] + 5000);
        expect(malloc_usable_size(p) == sizes[i] + 5000, "usable size after realloc");
        for (size_t k = 0; k < sizes[i]; k++)
            expect(p[k] == 'p', "kept by realloc");
        p = realloc(p, sizes[i] / 3 + 1);
        expect(malloc_usable_size(p) == sizes[i] / 3 + 1, "usable size after shrinking");
        free(p);
    }
    errno = 0;
    expect(!malloc((size_t)PTRDIFF_MAX - 10) && errno == ENOMEM, "too large");
    void *kept = malloc(10);
    expect(!realloc(kept, (size_t)PTRDIFF_MAX) && malloc_usable_size(kept) == 10,
           "a failed realloc changes nothing");
    free(kept);
    for (size_t alignment = 32; alignment <= 2 * MIB; alignment *= 4) {
        void *p = aligned_alloc(alignment, 3 * alignment);
        expect((uintptr_t)p % alignment == 0 && malloc_usable_size(p) == 3 * alignment, "aligned_alloc");
        free(p);
    }
}

static void nothing_is_handed_out_again_at_once(void)
{
    void *p = malloc(64);
    free(p);
    for (int i = 0; i < 1000; i++)
        expect(malloc(64) != p, "in quarantine");
}

/* Each step a copy would be 40 GiB of copying. */
static void growing_by_small_steps_is_not_quadratic(void)
{
    char *p = NULL;
    for (size_t size = 1000; size < 80 * MIB; size += 80000) {
        p = realloc(p, size);
        expect(p && malloc_usable_size(p) == size, "grown");
        p[size - 1] = 'g';
    }
    expect(p[999] == 'g' && p[80999] == 'g', "kept");
    free(p);
}

static void shrinking_works_when_memory_is_out(void)
{
    static void *chain;
    char *kept = malloc(5000);
    void **p;
    memset(kept, 'k', 5000);
    setrlimit(RLIMIT_AS, &(struct rlimit){64 * MIB, 64 * MIB});
    for (size_t size = MIB; size >= 16; size /= 4) {
        while ((p = malloc(size))) {
            *p = chain;
            chain = p;
        }
    }
    expect(!realloc(kept, 20000), "growing fails");
    kept = realloc(kept, 100);
    expect(kept && kept[0] == 'k' && kept[99] == 'k' && malloc_usable_size(kept) == 100, "shrunk");
    free(kept);
}

static void *shared[64];

static void *churn(void *seed)
{
    unsigned state = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < 20000; i++) {
        size_t size = (size_t)(rand_r(&state) % (i % 100 ? 3000 : 300000));
        void **slot = &shared[rand_r(&state) % 64], *p = malloc(size);
        memset(p, 1, size);
        p = __atomic_exchange_n(slot, p, __ATOMIC_ACQ_REL);
        if (i % 7 == 0)
            p = realloc(p, size / 2 + 1);
        free(p);
        if (i % 5000 == 0 && fork() == 0) {
            free(malloc(size));
            exit(0);
        }
    }
    return NULL;
}

static void threads_and_forks(void)
{
    pthread_t threads[4];
    int status;
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    while (wait(&status) > 0)
        expect(status == 0, "the child ends well");
}

#define RUN(name)                                                                                            \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct {
    const char *name;
    void (*run)(void);
} runs[] = {
    RUN(overflow_of_a_leak),
    RUN(off_by_one_zero),
    RUN(overflow_of_nothing),
    RUN(overflow_of_calloc),
    RUN(overflow_of_aligned),
    RUN(overflow_before_realloc),
    RUN(overflow_before_move),
    RUN(overflow_of_the_shrunk),
    RUN(write_seen_at_exit),
    RUN(write_seen_on_leaving),
    RUN(write_after_move),
    RUN(overflow_by_pages),
    RUN(overflow_by_pages_mapped),
    RUN(sizes_are_as_asked),
    RUN(nothing_is_handed_out_again_at_once),
    RUN(threads_and_forks),
    RUN(growing_by_small_steps_is_not_quadratic),
    RUN(shrinking_works_when_memory_is_out),
    RUN(overflow_with_a_handler),
};

int main(int count, char **words)
{
    for (size_t i = 0; count == 2 && i < sizeof(runs) / sizeof(runs[0]); i++) {
        if (strcmp(words[1], runs[i].name) != 0)
            continue;
        runs[i].run();
        puts("went on");
        return 0;
    }
    fprintf(stderr, "no such run\n");
    return 2;
}
