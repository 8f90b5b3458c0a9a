/* SPDX-License-Identifier: MIT */
/*
 * bench_calls.c - the other calls: realloc as buffers and vectors use it, calloc, aligned memory. The kinds of realloc are
 * those of C. Evans's and others' string builders: by a few bytes, by doubling, by chunks of a big file.
 */
#include "bench.h"

#define STRINGS 500u

/* One step: 500 strings grow side by side, a few bytes at a time, until they have about 2 KiB. */
static void realloc_small(const struct workload *w)
{
    struct random r = {31};

    for (unsigned i = 0; i < w->steps; i++) {
        char *strings[STRINGS] = {NULL};
        size_t lengths[STRINGS] = {0};

        for (unsigned k = 0; k < STRINGS * 100; k++) {
            unsigned s = random_below(&r, STRINGS);
            size_t more = random_between(&r, 1, 40);

            strings[s] = checked(realloc(strings[s], lengths[s] + more));
            memset(strings[s] + lengths[s], (int)s, more);
            lengths[s] += more;
        }
        for (unsigned s = 0; s < STRINGS; s++) {
            if (strings[s] && (strings[s][0] != (char)s || strings[s][lengths[s] - 1] != (char)s))
                broken("realloc has lost what was there");
            free(strings[s]);
        }
    }
}

/* One step: eight vectors double side by side from 16 bytes to 1 MiB, are shrunk to fit, and freed. */
static void realloc_double(const struct workload *w)
{
    enum { VECTORS = 8 };

    for (unsigned i = 0; i < w->steps; i++) {
        char *vectors[VECTORS] = {NULL};

        for (size_t size = 16; size <= 1u << 20; size *= 2) {
            for (unsigned v = 0; v < VECTORS; v++) {
                vectors[v] = checked(realloc(vectors[v], size));
                memset(vectors[v] + size / 2, (int)v, size / 2);
            }
        }
        for (unsigned v = 0; v < VECTORS; v++) {
            vectors[v] = checked(realloc(vectors[v], 700000 + v * 1000));
            free(vectors[v]);
        }
    }
}

/* One step: a buffer grows by 256 KiB up to 48 MiB, being filled; another block is allocated on the way. */
static void realloc_large(const struct workload *w)
{
    const size_t chunk = 256u << 10;

    for (unsigned i = 0; i < w->steps; i++) {
        char *buffer = NULL;
        void *others[192];

        for (unsigned k = 0; k < 192; k++) {
            buffer = checked(realloc(buffer, (k + 1) * chunk));
            for (size_t at = 0; at < chunk; at += 4096)
                buffer[k * chunk + at] = (char)k;
            others[k] = marked_malloc(3000);
        }
        for (unsigned k = 0; k < 192; k++) {
            if (buffer[k * chunk] != (char)k)
                broken("realloc has lost what was there");
            marked_free(others[k], 3000);
        }
        free(buffer);
    }
}

/* One step: a random one of 2,000 (up to 64 KiB) or 20 (above) places. Zeroes are looked for at both ends, and used. */
static void calloc_places(const struct workload *w)
{
    unsigned places = w->high <= 65536 ? 2000 : 20;
    char **blocks = checked(calloc(places, sizeof(char *)));
    struct random r = {32};

    for (unsigned i = 0; i < w->steps; i++) {
        unsigned place = random_below(&r, places);
        size_t size = random_log(&r, w->low, w->high);

        free(blocks[place]);
        char *p = blocks[place] = checked(calloc(1, size));
        if (p[0] || p[size / 2] || p[size - 1])
            broken("calloc gave memory that is not zero");
        memset(p, 1, size < 512 ? size : size / 4);
        p[size - 1] = 1;
    }
    for (unsigned i = 0; i < places; i++)
        free(blocks[i]);
    free(blocks);
}

/* One step: a random one of 2,000 places; alignments of cache lines mostly, pages seldom. */
static void aligned(const struct workload *w)
{
    enum { PLACES = 2000 };
    static const size_t alignments[] = {32, 64, 64, 64, 128, 256, 512, 4096};
    void **blocks = checked(calloc(PLACES, sizeof(void *)));
    struct random r = {33};

    for (unsigned i = 0; i < w->steps; i++) {
        void **place = &blocks[random_below(&r, PLACES)];
        size_t alignment = alignments[random_below(&r, 8)], size = random_log(&r, w->low, w->high);

        free(*place);
        *place = NULL;
        if (posix_memalign(place, alignment, size) != 0)
            broken("posix_memalign failed");
        if ((uintptr_t)*place % alignment != 0)
            broken("posix_memalign gave a block that is not aligned as asked");
        mark_block(*place, size);
    }
    for (unsigned i = 0; i < PLACES; i++)
        free(blocks[i]);
    free(blocks);
}

const struct workload call_workloads[] = {
    {"realloc-small", realloc_small, 1, 80, 0, 0, "500 strings grow by a few bytes at a time"},
    {"realloc-double", realloc_double, 1, 60, 0, 0, "vectors double up to 1 MiB"},
    {"realloc-large", realloc_large, 1, 12, 0, 0, "a buffer grows by 256 KiB to 48 MiB"},
    {"calloc-small", calloc_places, 1, 4000000, 16, 512, "random places, calloc of 16-512 bytes"},
    {"calloc-large", calloc_places, 1, 6000, 65536, 1u << 20, "random places, calloc of 64 KiB-1 MiB"},
    {"aligned", aligned, 1, 1000000, 32, 4096, "random places, posix_memalign"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
