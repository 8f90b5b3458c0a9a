/* SPDX-License-Identifier: MIT */
/*
 * bench_large.c - big blocks: buffers, images, tables. After Jansson's rptest and the large-object part of Leijen's
 * mimalloc-bench (mleak, alloc-test's big sizes).
 *
 * Random places of a small live set; of each block a program touches what it needs: of every fourth all pages, of the
 * others the first quarter. Who gives memory back to the kernel at every free pays for it here in page faults.
 */
#include "bench.h"

#define PLACES 24u
#define PAGE   4096u

struct place {
    char *block;
    size_t size;
};

static void touch_pages(char *block, size_t length)
{
    for (size_t at = 0; at < length; at += PAGE)
        block[at] = 1;
}

/* One step: a random place is freed and filled again. */
static void large(const struct workload *w)
{
    struct place places[PLACES] = {{NULL, 0}};
    struct random r = {21};

    for (unsigned i = 0; i < w->steps; i++) {
        struct place *place = &places[random_below(&r, PLACES)];

        if (place->block)
            marked_free(place->block, place->size);
        place->size = random_log(&r, w->low, w->high);
        place->block = checked(malloc(place->size));
        touch_pages(place->block, i % 4 ? place->size / 4 : place->size);
        mark_block(place->block, place->size);
    }
    for (unsigned i = 0; i < PLACES; i++)
        if (places[i].block)
            marked_free(places[i].block, places[i].size);
}

const struct workload large_workloads[] = {
    {"large-32k-256k", large, 1, 120000, 32u << 10, 256u << 10, "random places, 32-256 KiB"},
    {"large-256k-2m", large, 1, 12000, 256u << 10, 2u << 20, "random places, 256 KiB-2 MiB"},
    {"large-2m-16m", large, 1, 400, 2u << 20, 16u << 20, "random places, 2-16 MiB"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
