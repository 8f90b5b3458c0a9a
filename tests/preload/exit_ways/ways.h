/* SPDX-License-Identifier: MIT */
/* ways.h - what ways.c and companion.c agree on: a place in memory and what lies there. */
#ifndef TESTS_PRELOAD_WAYS_H
#define TESTS_PRELOAD_WAYS_H

#define WAYS_PAGE       0x500000000000ull /* a counter; then, 5 bytes into the second page, the pattern */
#define WAYS_PAGES      8                 /* the last but two cannot be read */
#define WAYS_PATTERN(i) ((unsigned char)((i)*37 + 11))
#define WAYS_RBX        0x1122334455667788ull

#endif
