/* SPDX-License-Identifier: MIT */
/* The contract of every exported name, where replacements usually slip: errno, zero, overflow, alignment. */
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include "expect.h"

extern void free_sized(void *p, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *p, size_t alignment, size_t size) __attribute__((weak));
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_malloc(size_t size);
extern void __libc_free(void *p);

static size_t huge = SIZE_MAX / 2 + 1, most = SIZE_MAX, none = 0;

#define FAILS_WITH(call, error)                                                                              \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        EXPECT((call) == NULL);                                                                              \
        EXPECT(errno == (error));                                                                            \
    } while (0)

static void too_much_is_enomem(void)
{
    char *p = malloc(100);
    memset(p, 'x', 100);
    FAILS_WITH(malloc(huge), ENOMEM);
    FAILS_WITH(malloc(most), ENOMEM);
    FAILS_WITH(calloc(huge, 2), ENOMEM);
    FAILS_WITH(calloc(most / 16, 17), ENOMEM);
    FAILS_WITH(realloc(p, most), ENOMEM);
    FAILS_WITH(realloc(p, huge), ENOMEM);
    FAILS_WITH(reallocarray(p, huge, 2), ENOMEM);
    FAILS_WITH(memalign(64, most), ENOMEM);
    FAILS_WITH(aligned_alloc(64, huge), ENOMEM);
    FAILS_WITH(valloc(most), ENOMEM);
    FAILS_WITH(pvalloc(most), ENOMEM);
    FAILS_WITH(memalign(most, 1), EINVAL);
    for (int i = 0; i < 100; i++)
        EXPECT(p[i] == 'x');
    free(p);
}

static void posix_memalign_leaves_pointer_and_errno(void)
{
    static const size_t refused[] = {0, 1, 2, 3, 4, 7, 12, 24, 100};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        void *p = (void *)0x1234;
        errno = 77;
        EXPECT(posix_memalign(&p, refused[i], 10) == EINVAL);
        EXPECT(p == (void *)0x1234 && errno == 77);
    }
    void *p = (void *)0x1234;
    errno = 77;
    EXPECT(posix_memalign(&p, 64, most) == ENOMEM);
    EXPECT(p == (void *)0x1234 && errno == 77);
    for (size_t alignment = 8; alignment <= 4096; alignment *= 2) {
        EXPECT(posix_memalign(&p, alignment, 10) == 0);
        EXPECT((uintptr_t)p % alignment == 0);
        free(p);
    }
}

static void odd_alignments_are_rounded_up(void)
{
    for (size_t alignment = 0; alignment <= 200; alignment++) {
        size_t want = 16;
        while (want < alignment)
            want *= 2;
        void *a = memalign(alignment, 50), *b = aligned_alloc(alignment, 100);
        EXPECT(a && (uintptr_t)a % want == 0);
        EXPECT(b && (uintptr_t)b % want == 0);
        free(a);
        free(b);
    }
    for (size_t alignment = 4096; alignment <= (size_t)1 << 30; alignment *= 4) {
        char *p = memalign(alignment, 5000);
        EXPECT(p && (uintptr_t)p % alignment == 0);
        if (!p)
            continue;
        memset(p, 'a', 5000);
        p = realloc(p, 50000);
        EXPECT(p && p[0] == 'a' && p[4999] == 'a');
        free(p);
    }
}

static void everything_is_16_aligned(void)
{
    for (size_t size = 0; size < 3000; size++) {
        void *a = malloc(size), *b = calloc(1, size), *c = realloc(NULL, size);
        EXPECT((uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0 && (uintptr_t)c % 16 == 0);
        EXPECT(a && b && c && a != b && b != c);
        EXPECT(malloc_usable_size(a) >= size);
        memset(a, 1, malloc_usable_size(a));
        free(a), free(b), free(c);
    }
}

static void zero_is_a_block(void)
{
    void *p = malloc(none), *q = malloc(none);
    EXPECT(p && q && p != q);
    errno = 5;
    EXPECT(realloc(p, none) == NULL);
    EXPECT(errno == 5);
    free(q);
    EXPECT((p = calloc(none, 10)) != NULL);
    free(p);
    EXPECT((p = realloc(NULL, none)) != NULL);
    EXPECT(reallocarray(p, none, 7) == NULL);
    EXPECT((p = valloc(none)) != NULL && (uintptr_t)p % 4096 == 0);
    free(p);
    EXPECT((p = pvalloc(1)) != NULL && malloc_usable_size(p) >= 4096);
    free(p);
    EXPECT(malloc_usable_size(NULL) == 0);
    free(NULL);
}

static void calloc_is_zero_again(void)
{
    for (size_t size = 1; size < (size_t)20 << 20; size = size * 3 + 1) {
        for (int round = 0; round < 3; round++) {
            char *p = calloc(1, size);
            size_t dirty = 0;
            for (size_t i = 0; i < size; i++)
                dirty += p[i] != 0;
            EXPECT(dirty == 0);
            memset(p, 0xff, size);
            free(p);
        }
    }
}

static void realloc_keeps_contents(void)
{
    size_t size = 1;
    unsigned char *p = malloc(size);
    p[0] = 0;
    while (size < (size_t)50 << 20) {
        size_t more = size + size / 2 + 1;
        p = realloc(p, more);
        EXPECT(p != NULL);
        for (size_t i = 0; i < size; i += size / 64 + 1)
            EXPECT(p[i] == (unsigned char)(i * 7));
        for (size_t i = 0; i < more; i++)
            p[i] = (unsigned char)(i * 7);
        size = more;
    }
    while (size > 1) {
        size /= 3;
        p = realloc(p, size ? size : 1);
        for (size_t i = 0; i < size; i += size / 64 + 1)
            EXPECT(p[i] == (unsigned char)(i * 7));
    }
    free(p);
}

static void free_keeps_errno(void)
{
    for (size_t size = 8; size < (size_t)64 << 20; size *= 4) {
        void *p = malloc(size);
        errno = 4711;
        free(p);
        EXPECT(errno == 4711);
    }
}

static void second_names_are_the_same(void)
{
    free(__libc_malloc(10));
    __libc_free(malloc(10));
    void *p = __libc_memalign(256, 10);
    EXPECT((uintptr_t)p % 256 == 0);
    free(p);
    if (!free_sized || !free_aligned_sized)
        return;
    free_sized(malloc(10), 10);
    free_aligned_sized(aligned_alloc(64, 128), 64, 128);
}

static void figures_move(void)
{
    struct mallinfo2 before = mallinfo2();
    void *small = malloc(10000), *large = malloc((size_t)40 << 20);
    struct mallinfo2 after = mallinfo2();
    EXPECT(after.uordblks >= before.uordblks + 10000 || after.uordblks == 0);
    EXPECT(after.hblkhd >= before.hblkhd + ((size_t)40 << 20) || after.uordblks == 0);
    free(small), free(large);
    EXPECT(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1 && mallopt(M_MXFAST, -1) == 0);
    malloc_trim(0);
    EXPECT(malloc_trim(0) == 0 || malloc_trim(0) == 1);
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    EXPECT(malloc_info(0, stream) == 0 && malloc_info(1, stream) == EINVAL);
    fclose(stream);
    EXPECT(strncmp(text, "<malloc", 7) == 0 && strstr(text, "</malloc>"));
    free(text);
}

/* The number behind `name` in what malloc_info printed. */
static size_t figure(const char *text, const char *name)
{
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "name=\"%s\" value=\"", name);
    const char *at = strstr(text, wanted);
    EXPECT(at != NULL);
    return at ? strtoull(at + strlen(wanted), NULL, 10) : 0;
}

/* One count, told in three ways; only the library's own has these names. */
static void figures_agree(void)
{
    char text[16384] = "";
    void *block[300], *large = malloc((size_t)40 << 20);
    for (size_t i = 0; i < 300; i++)
        block[i] = malloc(i * 50);
    FILE *stream = fmemopen(text, sizeof(text) - 1, "w");
    setvbuf(stream, NULL, _IONBF, 0); /* nor does it allocate a buffer between one count and the next */
    EXPECT(malloc_info(0, stream) == 0);
    struct mallinfo2 info = mallinfo2();
    if (strstr(text, "<heaptally")) {
        size_t allocated = figure(text, "allocated"), active = figure(text, "active");
        size_t resident = figure(text, "resident"), retained = figure(text, "retained");
        EXPECT(info.uordblks + info.hblkhd == allocated);
        EXPECT(info.arena == info.uordblks + info.fordblks);
        EXPECT(info.keepcost <= info.fordblks);
        EXPECT(allocated <= active && active + figure(text, "cached") + figure(text, "metadata") == resident);
        EXPECT(active == allocated + figure(text, "free_in_pools"));
        EXPECT(figure(text, "mapped") >= active + figure(text, "cached") + retained);
        EXPECT(allocated >= ((size_t)40 << 20) + 50 * 299 * 150);
        EXPECT(figure(text, "mapping_bytes") == info.hblkhd);
    }
    fclose(stream);
    for (size_t i = 0; i < 300; i++)
        free(block[i]);
    free(large);
}

/* Fresh memory is zero: nobody writes to it, also where the stack is seen for the first time. */
static void a_large_calloc_is_not_touched(void)
{
    struct rusage before, after;
    size_t size = (size_t)1 << 30;
    getrusage(RUSAGE_SELF, &before);
    char *p = calloc(1, size);
    EXPECT(p && p[0] == 0 && p[size / 2] == 0 && p[size - 1] == 0);
    getrusage(RUSAGE_SELF, &after);
    EXPECT(after.ru_maxrss - before.ru_maxrss < 65536);
    free(p);
}

int main(void)
{
    HIDE(huge);
    HIDE(most);
    HIDE(none);
    too_much_is_enomem();
    posix_memalign_leaves_pointer_and_errno();
    odd_alignments_are_rounded_up();
    everything_is_16_aligned();
    zero_is_a_block();
    calloc_is_zero_again();
    a_large_calloc_is_not_touched();
    realloc_keeps_contents();
    free_keeps_errno();
    second_names_are_the_same();
    figures_move();
    figures_agree();
    return expect_end();
}
