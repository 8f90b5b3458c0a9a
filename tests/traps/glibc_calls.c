/* SPDX-License-Identifier: MIT */
/*
 * What the C library's own tests of its malloc check, call by call; each check is named after the test that it
 * stands for (README.md has the table). Written from what those tests are about, not from their text.
 */
#include <malloc.h>
#include <obstack.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

static volatile size_t all = SIZE_MAX, zero = 0;

/* tst-malloc: the error, the zero size, and that it goes on. */
static void tst_malloc(void)
{
    errno = 0;
    CHECK(malloc(all) == NULL && errno == ENOMEM);
    void *p = malloc(10);
    CHECK(p != NULL);
    CHECK(realloc(p, zero) == NULL);
    CHECK((p = malloc(zero)) != NULL);
    free(p);
    for (int i = 0; i < 100; i++) {
        CHECK(malloc(all - (size_t)i) == NULL);
        CHECK((p = malloc((size_t)i)) != NULL);
        free(p);
    }
}

static bool is_zero(const char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i])
            return false;
    return true;
}

/* tst-calloc: zero whatever lay there before, fixed and random sizes. */
static void tst_calloc(void)
{
    static char *dirty[300];
    static size_t size[300];
    unsigned seed = 11;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 300; i++) {
            size[i] = trap_random(&seed) % (i % 50 == 0 ? 600000u : round % 2 ? 64u : 3000u);
            dirty[i] = malloc(size[i]);
            memset(dirty[i], 0xff, size[i]);
        }
        for (int i = 0; i < 300; i++)
            free(dirty[i]);
        for (int i = 0; i < 300; i++) {
            dirty[i] = i % 2 ? calloc(1, size[i]) : calloc(size[i], 1);
            CHECK(dirty[i] && is_zero(dirty[i], size[i]));
        }
        for (int i = 0; i < 300; i++)
            memset(dirty[i], 0xff, malloc_usable_size(dirty[i])), free(dirty[i]);
    }
    CHECK(calloc(all / 2 + 1, 2) == NULL);
    void *p[] = {calloc(zero, 0), calloc(zero, 9), calloc(9, zero)};
    for (int i = 0; i < 3; i++)
        CHECK(p[i] != NULL), free(p[i]);
}

/* tst-realloc: NULL, zero, growing keeps the zeros of calloc, shrinking keeps the rest, failing keeps all. */
static void tst_realloc(void)
{
    char *p = realloc(NULL, 10);
    CHECK(p != NULL);
    CHECK(realloc(p, zero) == NULL);
    p = calloc(20, 1);
    p = realloc(p, 200);
    CHECK(p && is_zero(p, 20));
    memset(p, 0xff, 200);
    p = realloc(p, 10);
    for (int i = 0; i < 10; i++)
        CHECK(p[i] == (char)0xff);
    errno = 0;
    CHECK(realloc(p, all) == NULL && errno == ENOMEM);
    for (int i = 0; i < 10; i++)
        CHECK(p[i] == (char)0xff);
    free(p);
}

/* tst-reallocarray: the product, its overflow, and the old block when it fails. */
static void tst_reallocarray(void)
{
    volatile size_t many = all / 16 + 1;
    char *p = reallocarray(NULL, 10, 2);
    CHECK(p && malloc_usable_size(p) >= 20);
    trap_fill(p, 20, 1);
    p = reallocarray(p, 16, 20);
    CHECK(p && malloc_usable_size(p) >= 320 && trap_is_filled(p, 20, 1));
    errno = 0;
    char *q = reallocarray(p, many, 32);
    CHECK(q == NULL && errno == ENOMEM && trap_is_filled(p, 20, 1));
    p = reallocarray(p, 5, 4);
    CHECK(p && trap_is_filled(p, 20, 1));
    CHECK(reallocarray(p, 5, zero) == NULL);
}

/* tst-memalign, tst-memalign-2, -3, tst-aligned-alloc, tst-posix_memalign, tst-valloc, tst-pvalloc. */
static void tst_memalign(void)
{
    size_t page = 4096;
    errno = 0;
    CHECK(memalign(sizeof(void *), all) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(memalign(4 * 16, all - page) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(memalign(all - 1, 10) == NULL && errno != 0);
    void *p = memalign(page, zero);
    CHECK(p != NULL);
    free(p);
    p = memalign(0x100, 10);
    CHECK(p && (uintptr_t)p % 0x100 == 0);
    free(p);
}

/* A freed aligned block serves again: the same request over and over takes no new memory. */
static void tst_memalign_2_and_3(void)
{
    long before = trap_resident_kib();
    for (int i = 0; i < 20000; i++) {
        for (size_t alignment = 32; alignment <= 8192; alignment *= 4) {
            char *p = memalign(alignment, 1000);
            REQUIRE(p && (uintptr_t)p % alignment == 0);
            p[0] = p[999] = 1;
            free(p);
        }
    }
    CHECK(trap_resident_kib() - before < 2000);
}

static void tst_posix_memalign(void)
{
    void *p = NULL;
    CHECK(posix_memalign(&p, sizeof(void *), all) == ENOMEM && p == NULL);
    CHECK(posix_memalign(&p, 4 * 16, all - 4096) == ENOMEM && p == NULL);
    CHECK(posix_memalign(&p, sizeof(void *) / 2, 10) == EINVAL && p == NULL);
    CHECK(posix_memalign(&p, sizeof(void *) * 3, 10) == EINVAL && p == NULL);
    CHECK(posix_memalign(&p, sizeof(void *), zero) == 0);
    free(p);
    CHECK(posix_memalign(&p, 0x100, 10) == 0 && p && (uintptr_t)p % 0x100 == 0);
    free(p);
}

static void tst_aligned_alloc(void)
{
    void *p = aligned_alloc(64, 128);
    CHECK(p && (uintptr_t)p % 64 == 0);
    free(p);
    for (size_t alignment = 16; alignment <= 65536; alignment *= 2) {
        CHECK((p = aligned_alloc(alignment, alignment * 3)) && (uintptr_t)p % alignment == 0);
        free(p);
    }
    errno = 0;
    CHECK(aligned_alloc(64, all) == NULL && errno == ENOMEM);
}

static void tst_valloc(void)
{
    errno = 0;
    CHECK(valloc(all) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(valloc(all - 4096) == NULL && errno == ENOMEM);
    void *p = valloc(zero), *q = valloc(32);
    CHECK(p && q && (uintptr_t)p % 4096 == 0 && (uintptr_t)q % 4096 == 0);
    free(p), free(q);
}

static void tst_pvalloc(void)
{
    errno = 0;
    CHECK(pvalloc(all) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(pvalloc(all - 4096) == NULL && errno == ENOMEM);
    void *p = pvalloc(zero), *q = pvalloc(32);
    CHECK(p && q && (uintptr_t)p % 4096 == 0 && (uintptr_t)q % 4096 == 0);
    CHECK(malloc_usable_size(q) >= 4096);
    free(p), free(q);
}

/* tst-malloc-too-large: every call, every way to be too large, every alignment. */
static void too_large_everywhere(size_t size)
{
    void *held = malloc(16), *q;
    errno = 0;
    CHECK(malloc(size) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(realloc(held, size) == NULL && errno == ENOMEM);
    for (size_t count = 1; count <= 64; count *= 4) {
        errno = 0;
        CHECK(calloc((size - 1) / count + 1, count) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(calloc(count, (size - 1) / count + 1) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(reallocarray(held, (size - 1) / count + 1, count) == NULL && errno == ENOMEM);
    }
    for (size_t alignment = 8; alignment <= 16384; alignment *= 2) {
        errno = 0;
        CHECK(memalign(alignment, size) == NULL && errno == ENOMEM);
        CHECK(posix_memalign(&q, alignment, size) == ENOMEM);
        errno = 0;
        CHECK(aligned_alloc(alignment, size) == NULL && errno == ENOMEM);
    }
    errno = 0;
    CHECK(valloc(size) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(pvalloc(size) == NULL && errno == ENOMEM);
    free(held);
}

static void tst_malloc_too_large(void)
{
    for (size_t less = 0; less < ((size_t)1 << 14); less = less * 2 + 1)
        too_large_everywhere(all - less);
    for (unsigned bit = 0; bit < 63; bit += 3)
        too_large_everywhere((size_t)PTRDIFF_MAX + ((size_t)1 << bit));
}

/* tst-malloc-usable: at least what was asked, all of it the program's. */
static void tst_malloc_usable(void)
{
    for (size_t size = 0; size < 200000; size = size * 5 / 4 + 1) {
        char *p = malloc(size), *q = malloc(size);
        size_t usable = malloc_usable_size(p);
        CHECK(usable >= size && usable == malloc_usable_size(p));
        memset(p, 1, usable);
        memset(q, 2, malloc_usable_size(q));
        for (size_t i = 0; i < usable; i++)
            if (p[i] != 1)
                REQUIRE(!"the usable bytes of two blocks overlap");
        free(p), free(q);
    }
    CHECK(malloc_usable_size(NULL) == 0);
}

/* tst-mallocalign1: blocks stay aligned when somebody else moves the break by odd steps. */
static void tst_mallocalign1(void)
{
    for (int i = 0; i < 64; i++) {
        CHECK(sbrk(8 + i % 5) != (void *)-1);
        for (size_t size = 1; size < 3000000; size *= 7) {
            void *p = malloc(size);
            CHECK(p && (uintptr_t)p % 16 == 0);
            free(realloc(p, size * 2));
        }
        void *tiny[10];
        for (int j = 0; j < 10; j++)
            CHECK((uintptr_t)(tiny[j] = malloc(8)) % 16 == 0);
        for (int j = 0; j < 10; j++)
            free(tiny[j]);
    }
}

static void *make_chunk(size_t size)
{
    return malloc(size);
}

#define obstack_chunk_alloc make_chunk
#define obstack_chunk_free  free

/* tst-obstack: objects of every alignment, growing, and freed back to a mark. */
static void tst_obstack(void)
{
    struct obstack stack;
    for (int mask = 0; mask < 64; mask = mask * 2 + 1) {
        obstack_init(&stack);
        obstack_alignment_mask(&stack) = mask;
        char *mark = obstack_alloc(&stack, 0);
        for (int i = 0; i < 3000; i++) {
            char *p = obstack_alloc(&stack, 10 + i % 90);
            CHECK(i == 0 || ((uintptr_t)p & (uintptr_t)mask) == 0);
            memset(p, i, (size_t)(10 + i % 90));
        }
        for (int i = 0; i < 100000; i++)
            obstack_1grow(&stack, (char)i);
        char *large = obstack_finish(&stack);
        for (int i = 0; i < 100000; i++)
            CHECK(large[i] == (char)i);
        obstack_free(&stack, mark);
        obstack_free(&stack, NULL);
    }
}

/* mallocbug: one sequence of sizes that once corrupted the heap: growing blocks between freed neighbours. */
static void mallocbug(void)
{
    static char *blocks[500];
    unsigned seed = 2;
    for (int i = 0; i < 100000; i++) {
        unsigned at = trap_random(&seed) % 500;
        size_t size = trap_random(&seed) % 4 ? 40 + at % 13 * 8 : 2000 + at * 16;
        if (blocks[at])
            CHECK(trap_is_filled(blocks[at], 40, at));
        free(blocks[at]);
        trap_fill(blocks[at] = malloc(size), 40, at);
    }
}

/* --- figures -------------------------------------------------------------------------------------- */

/* tst-mallinfo2: the figures follow what is held, past 2 GiB too. */
static void tst_mallinfo2(void)
{
    enum { COUNT = 1000 };
    static void *p[COUNT];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < COUNT; i++)
        p[i] = malloc(700);
    void *huge = malloc((size_t)3 << 30), *large = malloc(100000);
    struct mallinfo2 held = mallinfo2();
    CHECK(held.uordblks - before.uordblks >= COUNT * 700);
    CHECK(held.uordblks - before.uordblks < COUNT * 900 + 300000);
    CHECK(!huge || held.hblkhd - before.hblkhd >= (size_t)3 << 30);
    CHECK(!huge || held.hblks == before.hblks + 1);
    for (int i = 0; i < COUNT; i++)
        free(p[i]);
    free(huge), free(large);
    struct mallinfo2 after = mallinfo2();
    CHECK(after.uordblks < before.uordblks + 100000 && after.hblkhd == before.hblkhd);
}

static void *holds_some(void *unused)
{
    void *p[50];
    for (int i = 0; i < 50; i++)
        p[i] = malloc((size_t)i * 100);
    for (int i = 0; i < 50; i++)
        free(p[i]);
    return unused;
}

/* tst-malloc_info: well-formed text, whole, while threads run. */
static void tst_malloc_info(void)
{
    pthread_t thread;
    char *text = NULL;
    size_t length = 0;
    for (int i = 0; i < 20; i++) {
        REQUIRE(pthread_create(&thread, NULL, holds_some, NULL) == 0);
        FILE *stream = open_memstream(&text, &length);
        CHECK(malloc_info(0, stream) == 0);
        fclose(stream);
        pthread_join(thread, NULL);
        CHECK(strncmp(text, "<malloc ", 8) == 0 && strstr(text, "</malloc>"));
        int depth = 0;
        for (char *p = text; *p; p++)
            depth += p[0] == '<' ? (p[1] == '/' ? -1 : 1) : p[0] == '/' && p[1] == '>' ? -1 : 0;
        CHECK(depth == 0);
        free(text);
    }
    CHECK(malloc_info(1, stderr) != 0);
}

static void *cancelled_in_stats(void *unused)
{
    for (;;) {
        malloc_stats();
        pthread_testcancel(); /* where printing is no cancellation point */
    }
    return unused;
}

/* tst-malloc-stats-cancellation: a thread cancelled while it prints leaves no lock behind. */
static void tst_malloc_stats_cancellation(void)
{
    int saved = dup(STDERR_FILENO);
    REQUIRE(freopen("/dev/null", "w", stderr) != NULL);
    for (int i = 0; i < 30; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, cancelled_in_stats, NULL) == 0);
        usleep(500);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
        malloc_stats();
        free(malloc(1000));
    }
    dup2(saved, STDERR_FILENO);
}

/* tst-trim1: a trimmed heap works, and has really given back. */
static void tst_trim1(void)
{
    enum { COUNT = 20000 };
    static void *p[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++)
            memset(p[i] = malloc((size_t)(i % 5000)), 1, (size_t)(i % 5000));
        long full = trap_resident_kib();
        for (int i = 0; i < COUNT; i++)
            if (i % 2000)
                free(p[i]);
        CHECK(malloc_trim((size_t)round * 1000) == 1);
        CHECK(full - trap_resident_kib() > COUNT * 2 * 7 / 10); /* 2.5 KB each, on average */
        for (int i = 0; i < COUNT; i += 2000) {
            CHECK(malloc_usable_size(p[i]) >= (size_t)(i % 5000));
            free(p[i]);
        }
    }
}

/* tst-mxfast, tst-malloc-check: tuning that means nothing here must do no harm. */
static void tst_mxfast(void)
{
    void *before = malloc(24);
    CHECK(mallopt(M_MXFAST, 0) == 1);
    void *p = malloc(24);
    free(before);
    CHECK(mallopt(M_MXFAST, 80) == 1 && mallopt(M_MMAP_THRESHOLD, 65536) == 1 &&
          mallopt(M_PERTURB, 0x5a) == 1);
    free(p);
    for (size_t i = 0; i < 5000; i++)
        free(malloc(i * 30));
    char *q = calloc(1, 5000);
    CHECK(is_zero(q, 5000));
    free(q);
}

static void tst_malloc_check(void)
{
    CHECK(trap_shell("MALLOC_CHECK_=3 MALLOC_PERTURB_=90 MALLOC_ARENA_MAX=1 "
                     "GLIBC_TUNABLES=glibc.malloc.tcache_count=0 "
                     "perl -e '@a = map { \"x\" x $_ } 1 .. 2000; print length(join \"\", @a)'",
                     20) == 0);
    tst_malloc();
}

/* tst-free-errno: kept even where giving the memory back fails, since every mapping the kernel allows is taken. */
static void tst_free_errno(void)
{
    void *p[8], *wall = NULL;
    for (int i = 0; i < 8; i++)
        p[i] = malloc((size_t)(i + 1) << 22);
    /* Every other page protected differently: each is a mapping. A free that must split one then fails. */
    for (int i = 0; i < 80000; i++) {
        void *q = mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (q == MAP_FAILED)
            break;
        wall = q;
    }
    CHECK(wall != NULL);
    for (int i = 0; i < 8; i++) {
        errno = 4711;
        free(p[i]);
        CHECK(errno == 4711);
    }
}

const struct trap traps[] = {
    {"tst_malloc", tst_malloc, 0},
    {"tst_calloc", tst_calloc, 0},
    {"tst_realloc", tst_realloc, 0},
    {"tst_reallocarray", tst_reallocarray, 0},
    {"tst_memalign", tst_memalign, 0},
    {"tst_memalign_2_and_3", tst_memalign_2_and_3, 0},
    {"tst_posix_memalign", tst_posix_memalign, 0},
    {"tst_aligned_alloc", tst_aligned_alloc, 0},
    {"tst_valloc", tst_valloc, 0},
    {"tst_pvalloc", tst_pvalloc, 0},
    {"tst_malloc_too_large", tst_malloc_too_large, 0},
    {"tst_malloc_usable", tst_malloc_usable, 0},
    {"tst_mallocalign1", tst_mallocalign1, 0},
    {"tst_obstack", tst_obstack, 0},
    {"mallocbug", mallocbug, 0},
    {"tst_mallinfo2", tst_mallinfo2, 0},
    {"tst_malloc_info", tst_malloc_info, 0},
    {"tst_malloc_stats_cancellation", tst_malloc_stats_cancellation, 0},
    {"tst_trim1", tst_trim1, 0},
    {"tst_mxfast", tst_mxfast, 0},
    {"tst_malloc_check", tst_malloc_check, 0},
    {"tst_free_errno", tst_free_errno, 0},
    {0},
};
