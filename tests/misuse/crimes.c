/* SPDX-License-Identifier: MIT */
/* One crime per run: crimes NAME. Each ends in its own abort unless the policy lets it go on, which prints
 * "went on". */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *hidden(void *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

static void double_free(void)
{
    void *p = malloc(64);
    free(p);
    free(hidden(p));
}

static void delayed_double_free(void)
{
    void *p = malloc(64), *others[100];
    free(p);
    for (int i = 0; i < 100; i++)
        others[i] = malloc(300);
    for (int i = 0; i < 100; i++)
        free(others[i]);
    free(hidden(p));
}

/* One block of so many stays, and all pages but its own go back: frees in such a pool take another way. (The allocator itself
 * still tells the second free, unless the block was written over: then the ledger alone does.) */
static void rest_of_pools(size_t size, int each, char **stays, char **gone)
{
    enum { MANY = 4096 };
    static char *all[MANY];
    for (int i = 0; i < MANY; i++)
        all[i] = malloc(size);
    for (int i = 0; i < MANY; i++)
        if (i % each != 0)
            free(all[i]);
    malloc_trim(0);
    *stays = all[MANY / 2];
    *gone = all[MANY / 2 + each / 2];
}

static void double_free_beside_purged(void)
{
    char *stays, *gone;
    rest_of_pools(512, 64, &stays, &gone);
    free(stays);
    free(hidden(stays));
}

static void double_free_overwritten_beside_purged(void)
{
    char *stays, *gone;
    rest_of_pools(8192, 4, &stays, &gone);
    free(stays);
    memset(hidden(stays), 0, 16); /* by now it does not seem to be free */
    free(hidden(stays));
}

static void double_free_purged(void)
{
    char *stays, *gone;
    rest_of_pools(512, 64, &stays, &gone);
    free(hidden(gone));
}

static void double_free_purged_pages(void)
{
    char *stays, *gone;
    rest_of_pools(8192, 4, &stays, &gone);
    free(hidden(gone));
}

static void *frees(void *p)
{
    free(p);
    return NULL;
}

static void double_free_by_two_threads(void)
{
    pthread_t thread;
    void *p = malloc(64);
    pthread_create(&thread, NULL, frees, hidden(p));
    pthread_join(thread, NULL);
    free(hidden(p));
}

static void interior(void)
{
    char *p = malloc(64);
    free(hidden(p + 16));
}

static void misaligned(void)
{
    char *p = malloc(64);
    free(hidden(p + 3));
}

static void stack(void)
{
    char words[64];
    free(hidden(words + 16));
}

/* What lies before it looks like the head of a mapping of the C library's, of one page. */
static void stack_like_a_mapping(void)
{
    char words[3 * 4096];
    uintptr_t page = ((uintptr_t)words + 4095) & ~(uintptr_t)4095;
    uintptr_t *head = (uintptr_t *)page;
    head[0] = 0;
    head[1] = 4096 | 2;
    free(hidden(head + 2));
    memset(hidden(words), 1, sizeof(words)); /* still there */
}

static void global(void)
{
    static char words[64];
    free(hidden(words + 16));
}

static void tiny(void)
{
    free(hidden((void *)(uintptr_t)0x10));
}

static void non_canonical(void)
{
    free(hidden((void *)(uintptr_t)0xdead00000000beefull));
}

static void own_mapping(void)
{
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(hidden(p + 16));
}

static void unmapped(void)
{
    char *p = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(p, 1 << 20);
    free(hidden(p + 4096));
}

static void double_free_large(void)
{
    void *p = malloc((size_t)1 << 20);
    free(p);
    free(hidden(p));
}

static void interior_large(void)
{
    char *p = malloc((size_t)1 << 20);
    free(hidden(p + 65536));
}

static void double_free_mapped(void)
{
    void *p = malloc((size_t)32 << 20);
    free(p);
    free(hidden(p));
}

/* Its memory is the kernel's again, and others were freed since. */
static void double_free_unmapped(void)
{
    void *p = malloc((size_t)5 << 20), *others[3];
    for (int i = 0; i < 3; i++)
        others[i] = malloc((size_t)7 << 20);
    free(p);
    for (int i = 0; i < 3; i++)
        free(others[i]);
    malloc_trim(0);
    free(hidden(p));
}

static void interior_mapped(void)
{
    char *p = malloc((size_t)32 << 20);
    free(hidden(p + ((size_t)5 << 20)));
}

static void realloc_interior(void)
{
    char *p = malloc(64);
    if (realloc(hidden(p + 16), 100) != NULL || errno != ENOMEM)
        puts("realloc answered");
}

static void realloc_freed(void)
{
    void *p = malloc(64);
    free(p);
    if (realloc(hidden(p), 100) != NULL || errno != ENOMEM)
        puts("realloc answered");
}

static void write_after_free(void)
{
    char *p = malloc(64);
    free(p);
    memset(hidden(p), 'w', 64);
    for (int i = 0; i < 1000; i++)
        hidden(malloc(64));
}

#define CRIME(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct {
    const char *name;
    void (*commit)(void);
} crimes[] = {
    CRIME(double_free),
    CRIME(delayed_double_free),
    CRIME(double_free_beside_purged),
    CRIME(double_free_overwritten_beside_purged),
    CRIME(double_free_purged),
    CRIME(double_free_purged_pages),
    CRIME(double_free_by_two_threads),
    CRIME(interior),
    CRIME(misaligned),
    CRIME(stack),
    CRIME(stack_like_a_mapping),
    CRIME(global),
    CRIME(tiny),
    CRIME(non_canonical),
    CRIME(own_mapping),
    CRIME(unmapped),
    CRIME(double_free_large),
    CRIME(interior_large),
    CRIME(double_free_mapped),
    CRIME(double_free_unmapped),
    CRIME(interior_mapped),
    CRIME(realloc_interior),
    CRIME(realloc_freed),
    CRIME(write_after_free),
};

int main(int count, char **arguments)
{
    for (size_t i = 0; count == 2 && i < sizeof(crimes) / sizeof(crimes[0]); i++) {
        if (strcmp(arguments[1], crimes[i].name) != 0)
            continue;
        errno = 55;
        crimes[i].commit();
        free(malloc(100));
        puts("went on");
        return 0;
    }
    fprintf(stderr, "no such crime\n");
    return 2;
}
