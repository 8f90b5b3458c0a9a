/* SPDX-License-Identifier: MIT */
/*
 * robson.c [MIB] - the program that is worst for every allocator that cannot move blocks (J. M. Robson, "Bounds for some
 * functions concerning dynamic storage allocation", 1974), as far as it can be without knowing the allocator.
 *
 *    #.#.#.#.    blocks of 16 bytes, every other one freed: what is free is 16 bytes wide everywhere
 *    ## ## ##    blocks of 32 bytes, which fit nowhere; every other one freed; and so on, doubling, up to 64 KiB
 *
 * Live bytes never pass MIB (default 32): each step fills up what the step before has freed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 16u
#define LARGEST  (64u << 10)

int main(int argc, char **argv)
{
    size_t budget = (argc > 1 ? strtoul(argv[1], NULL, 10) : 32) << 20, live = 0;
    for (size_t size = SMALLEST; size <= LARGEST; size *= 2) {
        size_t count = (budget - live) / size;
        char **block = calloc(count, sizeof(*block));
        if (block == NULL)
            return 1;
        for (size_t i = 0; i < count; i++) {
            block[i] = malloc(size);
            if (block[i] == NULL)
                return 1;
            memset(block[i], 1, size);
        }
        for (size_t i = 0; i < count; i += 2)
            free(block[i]);
        live += count / 2 * size;
        free(block); /* what is left stays for good */
    }
    printf("%zu bytes are left of %zu\n", live, budget);
    return 0;
}
