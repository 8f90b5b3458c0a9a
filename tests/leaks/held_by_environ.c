/* SPDX-License-Identifier: MIT */
/*
 * held_by_environ.c - strings given to putenv() are held by environ alone.
 *
 * total:
 */
#include "leak.h"

OWN static void build(void)
{
    for (int i = 0; i < 3; i++) {
        char *text = calloc(1, 64);

        strcpy(text, "HEAPTALLY_TEST_0=some value");
        text[15] += i;
        putenv(OPAQUE(text));
    }
}

int main(void)
{
    build();
    scrub();
    return 0;
}
