/* SPDX-License-Identifier: MIT */
/* The interface's contract: which names there are, errno, zero sizes, overflow, and what does not change. */
#include <dlfcn.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trap.h"

#define FAILS(call, error)                                                                                   \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        CHECK((call) == NULL);                                                                               \
        CHECK(errno == (error));                                                                             \
    } while (0)

/* Past PTRDIFF_MAX, from just so to all there is. Not constants: the compiler would have its own ideas. */
static volatile size_t too_large[] = {(size_t)PTRDIFF_MAX + 1,
                                      (size_t)PTRDIFF_MAX + 4097,
                                      SIZE_MAX / 3 * 2,
                                      SIZE_MAX - 65536,
                                      SIZE_MAX - 4096,
                                      SIZE_MAX - 64,
                                      SIZE_MAX - 15,
                                      SIZE_MAX - 1,
                                      SIZE_MAX};
#define TOO_LARGE (sizeof(too_large) / sizeof(too_large[0]))
static volatile size_t zero = 0, all = SIZE_MAX;

static void too_large_is_enomem(void)
{
    for (size_t i = 0; i < TOO_LARGE; i++) {
        size_t size = too_large[i];
        FAILS(malloc(size), ENOMEM);
        FAILS(calloc(size, 1), ENOMEM);
        FAILS(calloc(1, size), ENOMEM);
        FAILS(realloc(NULL, size), ENOMEM);
        FAILS(memalign(64, size), ENOMEM);
        FAILS(aligned_alloc(8192, size), ENOMEM);
        FAILS(valloc(size), ENOMEM);
        FAILS(pvalloc(size), ENOMEM);
    }
}

static void failed_realloc_keeps_the_block(void)
{
    static const size_t sizes[] = {1, 100, 5000, 100000, 5000000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *p = malloc(sizes[i]), *a = memalign(256, sizes[i]);
        trap_fill(p, sizes[i], 1);
        trap_fill(a, sizes[i], 2);
        for (size_t j = 0; j < TOO_LARGE; j++) {
            FAILS(realloc(p, too_large[j]), ENOMEM);
            FAILS(realloc(a, too_large[j]), ENOMEM);
            FAILS(reallocarray(p, too_large[j], 1), ENOMEM);
        }
        CHECK(trap_is_filled(p, sizes[i], 1) && trap_is_filled(a, sizes[i], 2));
        free(p), free(a);
    }
}

/* Some end the program instead: "bad size". */
static void realloc_to_minus_one_is_null(void)
{
    void *p = malloc(10);
    FAILS(realloc(p, all), ENOMEM);
    p = realloc(p, 20);
    CHECK(p != NULL);
    free(p);
}

static void overflow_is_enomem(void)
{
    volatile size_t half = SIZE_MAX / 2 + 1, root = (size_t)1 << 32;
    char *p = malloc(64);
    trap_fill(p, 64, 3);
    FAILS(calloc(half, 2), ENOMEM);
    FAILS(calloc(2, half), ENOMEM);
    FAILS(calloc(root, root), ENOMEM);
    FAILS(calloc(all, all), ENOMEM);
    FAILS(calloc(all / 16, 17), ENOMEM);
    FAILS(reallocarray(NULL, half, 2), ENOMEM);
    FAILS(reallocarray(p, root, root), ENOMEM);
    FAILS(reallocarray(p, all / 16, 17), ENOMEM);
    CHECK(trap_is_filled(p, 64, 3));
    free(p);
}

static void pvalloc_minus_one_is_enomem(void)
{
    FAILS(pvalloc(all), ENOMEM);
    FAILS(pvalloc(all - 4094), ENOMEM);
    FAILS(pvalloc(all - 4095), ENOMEM);
    FAILS(valloc(all), ENOMEM);
    FAILS(valloc(all - 4095), ENOMEM);
}

static void posix_memalign_refuses_and_leaves_the_pointer(void)
{
    static const size_t bad[] = {0, 1, 2, 3, 4, 5, 7, 12, 24, 100, 4095};
    void *p = &p;
    errno = 77;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(posix_memalign(&p, bad[i], 10) == EINVAL);
        CHECK(p == &p && errno == 77);
    }
    CHECK(posix_memalign(&p, 64, all) == ENOMEM && p == &p); /* glibc itself sets errno here */
    CHECK(posix_memalign(&p, 8, zero) == 0);
    free(p);
}

/* As glibc: it frees. A hundred thousand pages would be seen if it did not. */
static void realloc_to_zero_frees(void)
{
    long before = trap_resident_kib();
    for (int i = 0; i < 20000; i++) {
        char *p = malloc(5000);
        memset(p, 1, 5000);
        errno = 5;
        CHECK(realloc(p, zero) == NULL);
        CHECK(errno == 5);
    }
    CHECK(trap_resident_kib() - before < 20000);
    void *p = realloc(NULL, zero);
    CHECK(p != NULL);
    CHECK(reallocarray(p, zero, 5) == NULL);
}

static void zero_sizes_are_blocks(void)
{
    void *p[] = {malloc(zero),       calloc(zero, 5), calloc(5, zero),
                 memalign(64, zero), valloc(zero),    malloc(zero)};
    for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++) {
        CHECK(p[i] != NULL);
        for (size_t j = 0; j < i; j++)
            CHECK(p[i] != p[j]);
    }
    for (size_t i = 0; i < sizeof(p) / sizeof(p[0]); i++)
        free(p[i]);
    CHECK(malloc_usable_size(NULL) == 0);
}

/* Any alignment is good: it is rounded up to a power of two, and the size need not be a multiple. */
static void odd_alignments_are_rounded_up(void)
{
    static const size_t asked[] = {0, 1, 3, 5, 24, 33, 100, 129, 5000},
                        given[] = {16, 16, 16, 16, 32, 64, 128, 256, 8192};
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        void *a = memalign(asked[i], 100), *b = aligned_alloc(asked[i], 100);
        CHECK(a && (uintptr_t)a % given[i] == 0);
        CHECK(b && (uintptr_t)b % given[i] == 0);
        CHECK(malloc_usable_size(a) >= 100 && malloc_usable_size(b) >= 100);
        free(a), free(b);
    }
    FAILS(memalign(all, 10), EINVAL);
    FAILS(aligned_alloc(all / 2 + 2, 10), EINVAL);
}

static void free_keeps_errno(void)
{
    for (size_t size = 1; size < (size_t)200 << 20; size *= 3) {
        void *p = malloc(size), *q = memalign(4096, size);
        errno = 4711;
        free(p);
        CHECK(errno == 4711);
        free(q);
        CHECK(errno == 4711);
    }
    free(NULL);
    CHECK(errno == 4711);
    CHECK(malloc_trim(0) >= 0 && errno == 4711);
}

/* --- names ---------------------------------------------------------------------------------------- */

static const void *module_of(const char *name)
{
    Dl_info info;
    void *p = dlsym(RTLD_DEFAULT, name);
    return p && dladdr(p, &info) ? info.dli_fbase : NULL;
}

/* A name that came from another heap would end in our free. */
static void every_name_is_of_one_module(void)
{
    static const char *const names[] = {"free",
                                        "calloc",
                                        "realloc",
                                        "aligned_alloc",
                                        "malloc_usable_size",
                                        "memalign",
                                        "posix_memalign",
                                        "pvalloc",
                                        "valloc",
                                        "reallocarray",
                                        "mallinfo",
                                        "mallinfo2",
                                        "malloc_info",
                                        "malloc_stats",
                                        "malloc_trim",
                                        "mallopt",
                                        "__libc_malloc",
                                        "__libc_free",
                                        "__libc_calloc",
                                        "__libc_realloc",
                                        "__libc_memalign",
                                        "__libc_valloc",
                                        "__libc_pvalloc",
                                        "__libc_mallopt",
                                        "__libc_mallinfo"};
    const void *module = module_of("malloc");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (module_of(names[i]) != module)
            trap_say("%s is of another module than malloc", names[i]);
        CHECK(module_of(names[i]) == module);
    }
    if (module == module_of("strlen"))
        return; /* the C library lacks C23's two */
    CHECK(module_of("free_sized") == module && module_of("free_aligned_sized") == module);
    CHECK(module_of("cfree") == module);
}

static void what_is_built_on_malloc_is_the_c_librarys(void)
{
    static const char *const names[] = {"strdup",   "strndup",        "getline",
                                        "asprintf", "open_memstream", "getdelim"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        CHECK(module_of(names[i]) == module_of("getpid"));
    char *text = NULL, *line = NULL, *copy = strdup("a text to be copied");
    size_t room = 0;
    CHECK(asprintf(&text, "%s %d", copy, 42) == 22);
    FILE *file = fmemopen(text, strlen(text), "r");
    CHECK(getline(&line, &room, file) == 22 && strcmp(line, text) == 0);
    fclose(file);
    CHECK((copy = realloc(copy, 4000)) && strcmp(copy, "a text to be copied") == 0);
    CHECK(malloc_usable_size(line) >= room);
    free(copy), free(text), free(line);
}

static void second_names_take_the_same_blocks(void)
{
    extern void *__libc_malloc(size_t), __libc_free(void *), *__libc_memalign(size_t, size_t),
        *__libc_calloc(size_t, size_t);
    extern void *__libc_realloc(void *, size_t), *__libc_valloc(size_t), *__libc_pvalloc(size_t);
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    void (*aligned)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    free(__libc_malloc(100)), __libc_free(malloc(100));
    free(__libc_calloc(10, 10)), free(__libc_memalign(128, 10));
    free(__libc_valloc(10)), free(__libc_pvalloc(10));
    free(__libc_realloc(malloc(10), 1000));
    if (sized)
        sized(malloc(100), 100), sized(NULL, 0);
    if (aligned)
        aligned(aligned_alloc(64, 128), 64, 128), aligned(NULL, 64, 0);
}

const struct trap traps[] = {
    {"too_large_is_enomem", too_large_is_enomem, 0},
    {"failed_realloc_keeps_the_block", failed_realloc_keeps_the_block, 0},
    {"realloc_to_minus_one_is_null", realloc_to_minus_one_is_null, 0},
    {"overflow_is_enomem", overflow_is_enomem, 0},
    {"pvalloc_minus_one_is_enomem", pvalloc_minus_one_is_enomem, 0},
    {"posix_memalign_refuses_and_leaves_the_pointer", posix_memalign_refuses_and_leaves_the_pointer, 0},
    {"realloc_to_zero_frees", realloc_to_zero_frees, 0},
    {"zero_sizes_are_blocks", zero_sizes_are_blocks, 0},
    {"odd_alignments_are_rounded_up", odd_alignments_are_rounded_up, 0},
    {"free_keeps_errno", free_keeps_errno, 0},
    {"every_name_is_of_one_module", every_name_is_of_one_module, 0},
    {"what_is_built_on_malloc_is_the_c_librarys", what_is_built_on_malloc_is_the_c_librarys, 0},
    {"second_names_take_the_same_blocks", second_names_take_the_same_blocks, 0},
    {0},
};
