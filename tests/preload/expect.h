/* SPDX-License-Identifier: MIT */
/* expect.h - what the small programs here check with: a failed expectation is printed and counted, nothing
 * stops. */
#ifndef TESTS_PRELOAD_EXPECT_H
#define TESTS_PRELOAD_EXPECT_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int expect_failures;

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            expect_failures++;                                                                               \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);        \
        }                                                                                                    \
    } while (0)

/* Keeps the compiler from knowing what a pointer or a number is: calls are then made as written. */
#define HIDE(x) __asm__ volatile("" : "+r"(x) : : "memory")

static inline int expect_end(void)
{
    if (!expect_failures)
        puts("ok");
    return expect_failures != 0;
}

#endif
