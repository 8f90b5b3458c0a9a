/* SPDX-License-Identifier: MIT */
/*
 * million.c - 1,000,000 blocks of 64 bytes with four random pointers each.
 *
 *   million held    a table that a global points at holds every block
 *   million lost    the table is cleared and freed: nothing reaches any block
 *
 * The pointers are random, so the second heap is one tangle: whether a block is lost, in a cycle or indirect follows
 * from the seed, which is printed. `million lost` also counts, from its own numbers, the blocks that nothing refers to,
 * for the checker's count to be held against.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS   1000000u
#define POINTERS 4u
#define SEED     88172645463325252u

struct block {
    struct block *to[POINTERS];
    uint64_t filler[4];
};

static struct block **table;

static uint32_t next_number(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state % BLOCKS);
}

__attribute__((noipa)) static void build(void)
{
    uint64_t state = SEED;

    table = malloc(BLOCKS * sizeof(*table));
    for (uint32_t i = 0; i < BLOCKS; i++)
        table[i] = calloc(1, sizeof(struct block));
    for (uint32_t i = 0; i < BLOCKS; i++)
        for (uint32_t k = 0; k < POINTERS; k++)
            table[i]->to[k] = table[next_number(&state)];
}

/* Blocks that no other block refers to: they have to be found as lost, and are the only ones. */
__attribute__((noipa)) static uint32_t count_unreferenced(void)
{
    uint64_t state = SEED;
    unsigned char *referenced = calloc(BLOCKS, 1);
    uint32_t count = 0;

    for (uint32_t i = 0; i < BLOCKS; i++)
        for (uint32_t k = 0; k < POINTERS; k++) {
            uint32_t to = next_number(&state);

            if (to != i)
                referenced[to] = 1;
        }
    for (uint32_t i = 0; i < BLOCKS; i++)
        count += !referenced[i];
    free(referenced);
    return count;
}

__attribute__((noipa)) static void forget(void)
{
    memset(table, 0, BLOCKS * sizeof(*table));
    free(table);
    table = NULL;
}

/* What lies dead below main's frame is overwritten. */
__attribute__((noipa)) static void scrub(void)
{
    volatile char area[65536];

    memset((char *)area, 0, sizeof(area));
    __asm__ volatile("" : : "r"(area) : "memory");
}

int main(int argc, char **argv)
{
    build();
    printf("seed %llu, %u blocks, unreferenced %u\n", (unsigned long long)SEED, BLOCKS, count_unreferenced());
    if (argc > 1 && strcmp(argv[1], "lost") == 0)
        forget();
    scrub();
    return 0;
}
