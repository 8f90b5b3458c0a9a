/* SPDX-License-Identifier: MIT */
/*
 * lru.c [MIB] - a cache of constant live bytes (default 32 MiB) whose entries' sizes drift.
 *
 * An entry is a small head and its data. The least recently used ones go when there are too many bytes; one access in four is
 * to an old entry, which then stays. The mean size wanders from 100 bytes to 1,600 and back, four times in all: what was freed
 * at one size is wanted at another.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define STEPS  1200000u
#define PERIOD (STEPS / 4)

struct entry {
    struct entry *newer, *older;
    uint32_t size;
    char *data;
};

static struct entry ring = {&ring, &ring, 0, NULL};
static size_t live;
static uint32_t state = 2463534242u;

static uint32_t next_number(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void unlink_entry(struct entry *e)
{
    e->newer->older = e->older;
    e->older->newer = e->newer;
}

static void link_newest(struct entry *e)
{
    e->older = ring.older; /* ring.older is the newest, ring.newer the oldest */
    e->newer = &ring;
    ring.older->newer = e;
    ring.older = e;
}

static void add(uint32_t size)
{
    struct entry *e = malloc(sizeof(*e));
    e->data = malloc(size);
    e->size = size;
    memset(e->data, 1, size);
    live += size + sizeof(*e);
    link_newest(e);
}

static void drop_oldest(void)
{
    struct entry *e = ring.newer;
    unlink_entry(e);
    live -= e->size + sizeof(*e);
    free(e->data);
    free(e);
}

/* Sizes rise in the first half of a period and fall in the second. */
static uint32_t size_at(uint32_t step)
{
    uint32_t at = step % PERIOD, half = PERIOD / 2;
    uint32_t mean = 100 + 1500 * (at < half ? at : PERIOD - at) / half;
    return mean / 2 + next_number() % mean;
}

int main(int argc, char **argv)
{
    size_t budget = (argc > 1 ? strtoul(argv[1], NULL, 10) : 32) << 20;
    for (uint32_t step = 0; step < STEPS; step++) {
        if (next_number() % 4 == 0 && ring.newer != &ring) {
            struct entry *used = ring.newer;
            for (uint32_t i = next_number() % 8; i > 0 && used->newer != &ring; i--)
                used = used->newer;
            unlink_entry(used);
            link_newest(used);
        }
        add(size_at(step));
        while (live > budget)
            drop_oldest();
    }
    return 0;
}
