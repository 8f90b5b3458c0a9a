/* SPDX-License-Identifier: MIT */
/*
 * segments.c - blocks from many depths, in a program that is linked with holes between its segments: its code, and the tables
 * that tell how to unwind that, are not in one range of addresses.
 */
#include <stdio.h>
#include <stdlib.h>

#define OWN __attribute__((noipa))

static void *kept[64];
static unsigned count;

OWN static int deeper(unsigned depth)
{
    if (depth == 0) {
        void **place = &kept[count++ % 64];

        free(*place);
        *place = malloc(24);
        return *place != NULL;
    }
    return deeper(depth - 1) + 1;
}

int main(void)
{
    int sum = 0;

    for (unsigned i = 0; i < 3000; i++)
        sum += deeper(i % 30);
    for (unsigned i = 0; i < 64; i++)
        free(kept[i]);
    printf("%d\n", sum);
    return 0;
}
