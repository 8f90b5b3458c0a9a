/* SPDX-License-Identifier: MIT */
/* Alignment: 16 for every block whatever its size, up to 1 GiB on request, and realloc of aligned blocks. */
#include <malloc.h>
#include <pthread.h>

#include "trap.h"

#define MANY 4000
#define GIB  ((size_t)1 << 30)

/* Compilers assume it also for blocks of 8 bytes and less, where others hand out every eighth byte. */
static void *takes_tiny_blocks(void *unused)
{
    static __thread char *p[MANY];
    for (size_t size = 0; size <= 24; size++) {
        for (int i = 0; i < MANY; i++) {
            p[i] = i % 3 == 0 ? malloc(size) : i % 3 == 1 ? calloc(1, size) : realloc(NULL, size);
            CHECK(p[i] && (uintptr_t)p[i] % 16 == 0);
        }
        for (int i = 0; i < MANY; i++)
            free(p[i]);
    }
    return unused;
}

static void tiny_blocks_are_16_aligned(void)
{
    pthread_t thread;
    takes_tiny_blocks(NULL);
    CHECK(pthread_create(&thread, NULL, takes_tiny_blocks, NULL) == 0);
    pthread_join(thread, NULL);
}

static void every_size_is_16_aligned(void)
{
    for (size_t size = 0; size < (size_t)8 << 20; size += size < 4096 ? 1 : size / 7) {
        void *a = malloc(size), *b = calloc(1, size), *c = realloc(malloc(3), size + 1);
        CHECK(a && b && c && ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0);
        CHECK(malloc_usable_size(a) >= size && malloc_usable_size(b) >= size);
        free(a), free(b), free(c);
    }
}

static void every_alignment_with_every_size(void)
{
    static const size_t sizes[] = {0,    1,    8,    15,   16,    17,    100,    1000,   1024,
                                   1025, 4095, 4096, 5000, 32768, 32769, 262144, 3000000};
    for (size_t alignment = 8; alignment <= (size_t)1 << 22; alignment *= 2) {
        char *p[sizeof(sizes) / sizeof(sizes[0])];
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            void *q = NULL;
            p[i] = memalign(alignment, sizes[i]);
            CHECK(p[i] && (uintptr_t)p[i] % alignment == 0 && malloc_usable_size(p[i]) >= sizes[i]);
            trap_fill(p[i], malloc_usable_size(p[i]), (unsigned)i);
            CHECK(posix_memalign(&q, alignment, sizes[i]) == 0 && (uintptr_t)q % alignment == 0);
            free(q);
        }
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            CHECK(trap_is_filled(p[i], malloc_usable_size(p[i]), (unsigned)i));
            free(p[i]);
        }
    }
}

static void huge_alignments_up_to_1_gib(void)
{
    for (size_t alignment = (size_t)1 << 23; alignment <= GIB; alignment *= 2) {
        for (size_t size = 1; size <= (size_t)3 << 20; size *= 1000) {
            char *p = memalign(alignment, size);
            CHECK(p && (uintptr_t)p % alignment == 0);
            if (!p)
                continue;
            trap_fill(p, size, 7);
            CHECK(trap_is_filled(p, size, 7));
            free(p);
        }
    }
    CHECK(trap_resident_kib() < 100000);
}

static void realloc_of_aligned_keeps_contents(void)
{
    for (size_t alignment = 32; alignment <= GIB; alignment *= 4) {
        size_t size = 3000;
        char *p = memalign(alignment, size);
        REQUIRE(p != NULL);
        trap_fill(p, size, 9);
        for (int step = 0; step < 6; step++) {
            p = realloc(p, size * 5);
            REQUIRE(p && (uintptr_t)p % 16 == 0);
            CHECK(trap_is_filled(p, 256, 9));
            size *= 5;
            if (size > (size_t)4 << 20)
                break;
        }
        p = realloc(p, 100);
        CHECK(p != NULL);
        for (int i = 0; i < 100; i++)
            CHECK(p[i] == (char)(9 * 31 + i));
        free(p);
    }
}

static void aligned_blocks_among_others_keep_theirs(void)
{
    static struct {
        char *p;
        size_t size;
    } kept[512];
    unsigned seed = 1;
    for (unsigned i = 0; i < 60000; i++) {
        unsigned at = trap_random(&seed) % 512;
        if (kept[at].p)
            CHECK(trap_is_filled(kept[at].p, kept[at].size, at));
        free(kept[at].p);
        size_t alignment = (size_t)16 << trap_random(&seed) % 10;
        kept[at].size = trap_random(&seed) % 3000;
        kept[at].p = i % 2 ? memalign(alignment, kept[at].size) : malloc(kept[at].size);
        REQUIRE(kept[at].p && (uintptr_t)kept[at].p % (i % 2 ? alignment : 16) == 0);
        trap_fill(kept[at].p, kept[at].size, at);
    }
}

/* Page alignment is as common as it gets: neither memory nor mappings may be wasted on it. */
static void page_aligned_blocks_cost_what_they_hold(void)
{
    enum { COUNT = 4000 };
    static void *p[COUNT];
    long kib = trap_resident_kib(), mappings = trap_mappings();
    for (int i = 0; i < COUNT; i++) {
        p[i] = memalign(4096, 4096);
        REQUIRE(p[i] && (uintptr_t)p[i] % 4096 == 0);
        memset(p[i], 1, 4096);
    }
    CHECK(trap_resident_kib() - kib < COUNT * 4 * 5 / 2);
    CHECK(trap_mappings() - mappings < COUNT / 10);
    for (int i = 0; i < COUNT; i++)
        free(p[i]);
}

const struct trap traps[] = {
    {"tiny_blocks_are_16_aligned", tiny_blocks_are_16_aligned, 0},
    {"every_size_is_16_aligned", every_size_is_16_aligned, 0},
    {"every_alignment_with_every_size", every_alignment_with_every_size, 0},
    {"huge_alignments_up_to_1_gib", huge_alignments_up_to_1_gib, 0},
    {"realloc_of_aligned_keeps_contents", realloc_of_aligned_keeps_contents, 0},
    {"aligned_blocks_among_others_keep_theirs", aligned_blocks_among_others_keep_theirs, 0},
    {"page_aligned_blocks_cost_what_they_hold", page_aligned_blocks_cost_what_they_hold, 0},
    {0},
};
