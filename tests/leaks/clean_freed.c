/* SPDX-License-Identifier: MIT */
/*
 * clean_freed.c - everything is freed, in another order than it was made.
 *
 * total:
 */
#include "leak.h"

OWN static void build(void)
{
    void *blocks[3000];

    for (unsigned i = 0; i < 3000; i++)
        blocks[i] = malloc(1 + i * 37 % 5000);
    for (unsigned i = 0; i < 3000; i++)
        free(blocks[i * 7 % 3000]);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
