/* SPDX-License-Identifier: MIT */
/* What memory costs: mappings, resident pages with and without huge pages, large blocks, and purging. */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trap.h"

#define MIB ((size_t)1 << 20)

/* 65,530 mappings is all that a process may have. A guard page per arena would have taken 16,000 for this. */
static void small_blocks_in_few_mappings(size_t bytes, size_t size, long most)
{
    long before = trap_mappings();
    void **chain = NULL;
    for (size_t i = 0; i < bytes; i += size) {
        void **block = malloc(size);
        REQUIRE(block != NULL);
        *block = chain;
        chain = block;
    }
    trap_say("%ld mappings", trap_mappings() - before);
    CHECK(trap_mappings() - before < most);
    while (chain) {
        void **next = *chain;
        free(chain);
        chain = next;
    }
}

static void two_gib_of_small_blocks_in_few_mappings(void)
{
    small_blocks_in_few_mappings(2048 * MIB, 30000, 1200); /* a page of each is touched */
    small_blocks_in_few_mappings(256 * MIB, 1000, 200);
}

static void many_3_mib_blocks_in_few_mappings(void)
{
    enum { COUNT = 2000 };
    static void *p[COUNT];
    long before = trap_mappings();
    for (int i = 0; i < COUNT; i++)
        REQUIRE((p[i] = malloc(3 * MIB)) != NULL);
    CHECK(trap_mappings() - before <= COUNT + 20);
    for (int i = 0; i < COUNT; i += 2)
        free(p[i]);
    CHECK(trap_mappings() - before <= COUNT + 20);
    for (int i = 1; i < COUNT; i += 2)
        free(p[i]);
    CHECK(trap_mappings() - before < 100);
}

/* 100,000 of them are more than there may be mappings: the last ones are refused, and nothing breaks. */
static void more_large_blocks_than_mappings(void)
{
    enum { COUNT = 70000 };
    static void *p[COUNT];
    int got = 0;
    void *small[100];
    free(malloc(50)); /* where small ones come from is there */
    while (got < COUNT && (p[got] = malloc(3 * MIB)) != NULL)
        got++;
    trap_say("%d blocks of 3 MiB", got);
    CHECK(got > 30000);
    for (int i = 0; i < 100; i++)
        CHECK((small[i] = malloc(50)) != NULL);
    for (int i = 0; i < 100; i++)
        free(small[i]);
    for (int i = 0; i < got; i++)
        free(p[i]);
    CHECK((p[0] = malloc(100 * MIB)) != NULL);
    free(p[0]);
}

static void a_block_of_32_mib(void)
{
    for (int i = 0; i < 20; i++) {
        char *p = malloc(32 * MIB), *q = calloc(1, 32 * MIB);
        REQUIRE(p && q);
        CHECK(malloc_usable_size(p) >= 32 * MIB);
        p[0] = p[32 * MIB - 1] = 1;
        CHECK(q[0] == 0 && q[16 * MIB] == 0 && q[32 * MIB - 1] == 0);
        q[16 * MIB] = 1;
        p = realloc(p, 33 * MIB);
        CHECK(p && p[0] == 1 && p[32 * MIB - 1] == 1);
        free(p), free(q);
    }
    CHECK(trap_resident_kib() < 40000);
}

/* One byte of every 2 MiB: 64 such blocks are 64 pages, not 128 MiB. (One block of 128 MiB is another matter:
 * there a huge page is what the machine's owner asked for, and the C library's own would get them too.) */
static void sparse_blocks(void)
{
    static char *p[64];
    for (int i = 0; i < 64; i++)
        REQUIRE((p[i] = malloc(2 * MIB)) != NULL);
    long before = trap_resident_kib();
    for (int i = 0; i < 64; i++)
        p[i][MIB] = 1;
    long grown = trap_resident_kib() - before;
    if (grown > 4096)
        trap_say("%ld KiB for 64 bytes", grown);
    CHECK(grown <= 4096);
}

static void sparse_blocks_stay_sparse(void)
{
    sparse_blocks();
}

#define HUGE_PAGES "/sys/kernel/mm/transparent_hugepage/enabled"

static const char *huge_pages_now(char *text, size_t size)
{
    int fd = open(HUGE_PAGES, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    close(fd);
    if (got <= 0)
        return NULL;
    text[got] = '\0';
    char *word = strchr(text, '[');
    if (!word || !strchr(word, ']'))
        return NULL;
    *strchr(word, ']') = '\0';
    return word + 1;
}

static bool huge_pages_set(const char *word)
{
    int fd = open(HUGE_PAGES, O_WRONLY);
    bool done = fd >= 0 && write(fd, word, strlen(word)) == (ssize_t)strlen(word);
    close(fd);
    return done;
}

static void tiny_program(void *unused)
{
    (void)unused;
    CHECK(trap_shell("exec ./memory a_tiny_program_stays_tiny", 10) == 0);
    sparse_blocks();
}

/* Where huge pages are `always`, as in many distributions. Others on the machine see the switch for a moment. */
static void huge_pages_do_not_fill_what_is_sparse(void)
{
    char text[100];
    int one_at_a_time = open(HUGE_PAGES, O_RDONLY);
    flock(one_at_a_time, LOCK_EX);
    const char *before = huge_pages_now(text, sizeof(text));
    if (!before || !huge_pages_set("always"))
        trap_skip("huge pages cannot be switched here");
    bool good = trap_child(tiny_program, NULL, 20);
    CHECK(huge_pages_set(before));
    close(one_at_a_time);
    CHECK(good);
}

static void a_tiny_program_stays_tiny(void)
{
    for (int i = 0; i < 100; i++)
        memset(malloc(100), 1, 100);
    long kib = trap_resident_kib();
    trap_say("%ld KiB", kib);
    CHECK(kib < (trap_is_recording() ? 4500 : 3000)); /* 1,100 of them are the C library's */
}

/* --- purging ---------------------------------------------------------------------------------------- */

/* After a peak of 200 MiB, of which a little stays: a second later the process is near to what lives. */
static void memory_goes_back_after_a_peak(void)
{
    enum { COUNT = 200000 };
    static void *p[COUNT];
    for (int i = 0; i < COUNT; i++)
        memset(p[i] = malloc(1000), 1, 1000);
    long peak = trap_resident_kib();
    for (int i = 0; i < COUNT; i++)
        free(p[i]);
    for (int i = 0; i < 30; i++) {
        usleep(100000);
        for (int j = 0; j < 1000; j++) /* the clock is read on slow paths */
            free(malloc((size_t)j * 50));
    }
    long after = trap_resident_kib();
    if (after > peak / 4)
        trap_say("%ld KiB at the peak, %ld KiB after", peak, after);
    CHECK(after <= peak / 4);
}

static void trim_gives_back_at_once(void)
{
    static char *p[100];
    for (int i = 0; i < 100; i++)
        memset(p[i] = malloc(MIB), 1, MIB);
    for (int i = 0; i < 100; i++)
        free(p[i]);
    malloc_trim(0);
    CHECK(trap_resident_kib() < 20000);
}

/* A program that allocates and frees one large block for ever must not be slow for it: kernel calls count. */
static void growing_by_realloc_is_not_quadratic(void)
{
    double began = trap_now();
    char *p = NULL;
    for (size_t size = 1000; size < 200 * MIB; size += 100000) {
        REQUIRE((p = realloc(p, size)) != NULL);
        p[size - 1] = 1;
    }
    free(p);
    CHECK(trap_now() - began < 5);
}

const struct trap traps[] = {
    {"two_gib_of_small_blocks_in_few_mappings", two_gib_of_small_blocks_in_few_mappings, 60},
    {"many_3_mib_blocks_in_few_mappings", many_3_mib_blocks_in_few_mappings, 0},
    {"more_large_blocks_than_mappings", more_large_blocks_than_mappings, 60},
    {"a_block_of_32_mib", a_block_of_32_mib, 0},
    {"sparse_blocks_stay_sparse", sparse_blocks_stay_sparse, 0},
    {"huge_pages_do_not_fill_what_is_sparse", huge_pages_do_not_fill_what_is_sparse, 0},
    {"a_tiny_program_stays_tiny", a_tiny_program_stays_tiny, 0},
    {"memory_goes_back_after_a_peak", memory_goes_back_after_a_peak, 0},
    {"trim_gives_back_at_once", trim_gives_back_at_once, 0},
    {"growing_by_realloc_is_not_quadratic", growing_by_realloc_is_not_quadratic, 0},
    {0},
};
