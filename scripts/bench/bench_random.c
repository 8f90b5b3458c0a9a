/* SPDX-License-Identifier: MIT */
/*
 * bench_random.c - random places of a live set are freed and filled again: how most allocators are measured first.
 *
 * After the random part of MicroQuill's sh6bench and Jansson's rptest (sizes drawn evenly or mostly small, each thread a set
 * of its own); the pairs and batches are what every instruction count uses. Threads share the work: the same number of
 * steps is done by 1, 2 and 4 of them.
 */
#include "bench.h"

#define PLACES 40000u /* of all threads together */

struct task {
    const struct workload *w;
    unsigned number;
};

struct place {
    void *block;
    size_t size;
};

/* high == 0: the usual sizes */
static size_t some_size(const struct workload *w, struct random *r)
{
    return w->high ? random_between(r, w->low, w->high) : random_usual(r);
}

static void *replace_places(void *arg)
{
    const struct task *task = arg;
    const struct workload *w = task->w;
    unsigned count = PLACES / w->threads;
    struct place *places = checked(calloc(count, sizeof(*places)));
    struct random r = {task->number + 1};

    for (unsigned i = 0; i < w->steps / w->threads; i++) {
        struct place *place = &places[random_below(&r, count)];

        if (place->block)
            marked_free(place->block, place->size);
        place->size = some_size(w, &r);
        place->block = marked_malloc(place->size);
    }
    for (unsigned i = 0; i < count; i++)
        if (places[i].block)
            marked_free(places[i].block, places[i].size);
    free(places);
    return NULL;
}

static void random_places(const struct workload *w)
{
    struct task tasks[4];

    for (unsigned i = 0; i < w->threads; i++)
        tasks[i] = (struct task){w, i};
    run_threads(w->threads, replace_places, tasks, sizeof(tasks[0]));
}

/* One step: a block that is freed at once, in five sizes by turns, as a function's scratch buffers are. */
static void pairs(const struct workload *w)
{
    static const size_t sizes[] = {24, 64, 200, 500, 1000};

    for (unsigned i = 0; i < w->steps; i++) {
        void *p = marked_malloc(sizes[i % 5]);

        __asm__ volatile("" : "+r"(p) : : "memory");
        free(p);
    }
}

/* Who is freed first: in the order of allocation, the reverse, or every third of what is left. */
static void free_batch(void **blocks, unsigned count, unsigned order)
{
    if (order == 0) {
        for (unsigned i = 0; i < count; i++)
            free(blocks[i]);
    } else if (order == 1) {
        for (unsigned i = count; i-- > 0;)
            free(blocks[i]);
    } else {
        for (unsigned start = 0; start < 3; start++)
            for (unsigned i = start; i < count; i += 3)
                free(blocks[i]);
    }
}

/* One step: 2,000 blocks, mostly small, some kept until the next step's are there (sh6bench keeps runs of blocks so). */
static void batches(const struct workload *w)
{
    enum { BATCH = 2000 };
    void *blocks[2][BATCH] = {{NULL}};
    struct random r = {3};

    for (unsigned i = 0; i < w->steps; i++) {
        void **batch = blocks[i & 1], **older = blocks[~i & 1];

        for (unsigned k = 0; k < BATCH; k++)
            batch[k] = marked_malloc(random_log(&r, w->low, w->high));
        free_batch(older, BATCH, i % 3);
        memset(older, 0, sizeof(blocks[0]));
    }
    for (unsigned i = 0; i < 2; i++)
        free_batch(blocks[i], BATCH, 0);
}

const struct workload random_workloads[] = {
    {"pairs", pairs, 1, 24000000, 0, 0, "malloc and free at once, five small sizes"},
    {"batches", batches, 1, 2200, 16, 1024, "batches freed in three orders (after sh6bench)"},
    {"random-small-1", random_places, 1, 3500000, 8, 256, "random places, 8-256 bytes"},
    {"random-small-2", random_places, 2, 6000000, 8, 256, "the same by 2 threads"},
    {"random-small-4", random_places, 4, 6000000, 8, 256, "the same by 4 threads"},
    {"random-mixed-1", random_places, 1, 2000000, 0, 0,
     "random places, mostly small, up to 20 KiB (after rptest)"},
    {"random-mixed-2", random_places, 2, 4000000, 0, 0, "the same by 2 threads"},
    {"random-mixed-4", random_places, 4, 4000000, 0, 0, "the same by 4 threads"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
