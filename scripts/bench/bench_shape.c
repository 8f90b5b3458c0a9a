/* SPDX-License-Identifier: MIT */
/*
 * bench_shape.c - the sizes a program asks for change over its life: what was freed has to serve other sizes.
 *
 *   drift     the usual size grows slowly while the live bytes stay the same, oldest and random ones dying (a server whose
 *             messages grow)
 *   rising    phases of growing sizes; after each, 80 % of all that is alive dies at random. The survivors, spread thinly,
 *             are what pins memory: the pattern behind Robson's bounds (J. M. Robson, "Worst case fragmentation of first
 *             fit and best fit storage allocation strategies", 1977), in a mild form
 *   falling   the same from large to small
 *
 * At the end of the last two the survivors are still alive: the resident memory then is to be read against them.
 */
#include "bench.h"

#define MOST_LIVE 200000u

struct live {
    void *block;
    size_t size;
};

static struct live alive[MOST_LIVE];
static unsigned count;
static size_t bytes;

static void add_block(size_t size)
{
    if (count == MOST_LIVE)
        checked(NULL);
    alive[count++] = (struct live){marked_malloc(size), size};
    memset(alive[count - 1].block, (int)(size & 0xff), size);
    bytes += size;
}

static void drop_block(unsigned i)
{
    bytes -= alive[i].size;
    marked_free(alive[i].block, alive[i].size);
    alive[i] = alive[--count];
}

/* One step: one new block, and as many old ones go as it takes to stay within the same live bytes. */
static void drift(const struct workload *w)
{
    const size_t budget = 12u << 20;
    struct random r = {11};

    for (unsigned i = 0; i < w->steps; i++) {
        size_t usual = w->low + (w->high - w->low) * i / w->steps;

        add_block(random_between(&r, usual / 2, usual * 3 / 2));
        while (bytes > budget)
            drop_block(random_below(&r, count));
    }
    while (count)
        drop_block(count - 1);
}

static void phase(struct random *r, size_t size, size_t budget)
{
    while (bytes < budget)
        add_block(random_between(r, size * 3 / 4, size * 5 / 4));
    for (unsigned dying = count / 5 * 4; dying > 0; dying--)
        drop_block(random_below(r, count));
}

/* The whole runs `steps` times with the survivors of the former runs gone. */
static void rising(const struct workload *w)
{
    struct random r = {12};

    for (unsigned i = 0; i < w->steps; i++) {
        while (count)
            drop_block(count - 1);
        for (size_t size = w->low; size <= w->high; size = size * 3 / 2)
            phase(&r, size, 16u << 20);
    }
}

static void falling(const struct workload *w)
{
    struct random r = {13};

    for (unsigned i = 0; i < w->steps; i++) {
        while (count)
            drop_block(count - 1);
        for (size_t size = w->high; size >= w->low; size = size * 2 / 3)
            phase(&r, size, 16u << 20);
    }
}

const struct workload shape_workloads[] = {
    {"drift", drift, 1, 1500000, 80, 800, "sizes grow slowly at constant live bytes"},
    {"rising", rising, 1, 3, 100, 8000, "sizes rise in phases, 80 % die after each"},
    {"falling", falling, 1, 3, 100, 8000, "sizes fall in phases, 80 % die after each"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
