/* SPDX-License-Identifier: MIT */
/* tiny.c - a program that allocates twenty blocks and ends: what starting an allocator costs. */
#include <stdlib.h>

int main(void)
{
    char *volatile blocks[20];

    for (unsigned i = 0; i < 20; i++)
        if ((blocks[i] = malloc(10 + i * 37)))
            blocks[i][0] = 1;
    for (unsigned i = 0; i < 20; i += 2)
        free(blocks[i]);
    return 0;
}
