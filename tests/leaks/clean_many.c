/* SPDX-License-Identifier: MIT */
/*
 * clean_many.c - twenty thousand blocks in a table, chained: all held.
 *
 * total:
 * reachable: 20001
 */
#include "leak.h"

struct entry {
    struct entry *next;
    long key[3];
};

struct entry **table;

OWN static void build(void)
{
    table = calloc(1024, sizeof(*table));
    for (unsigned i = 0; i < 20000; i++) {
        struct entry *e = calloc(1, sizeof(*e));

        e->key[0] = i;
        e->next = table[i % 1024];
        table[i % 1024] = e;
    }
}

int main(void)
{
    build();
    scrub();
    return 0;
}
