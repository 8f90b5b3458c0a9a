/* SPDX-License-Identifier: MIT */
/* ways.h - what the programs and companion.c agree on: a place in memory and what lies there; and what the
 * programs share. */
#ifndef TESTS_PRELOAD_WAYS_H
#define TESTS_PRELOAD_WAYS_H

#define WAYS_PAGE       0x500000000000ull /* a counter; then, 5 bytes into the second page, the pattern */
#define WAYS_PAGES      8                 /* the last but two cannot be read */
#define WAYS_PATTERN(i) ((unsigned char)((i)*37 + 11))
#define WAYS_RBX        0x1122334455667788ull

#include <stdint.h>

struct way {
    const char *name;
    int (*run)(void);
};
#define WAY(name)                                                                                            \
    {                                                                                                        \
#name, name                                                                                          \
    }
extern const struct way ways_exits[], ways_children[], ways_threads[],
    ways_live[]; /* each ends with a NULL name */

extern char *self;              /* the path of this program */
extern volatile uint64_t *word; /* the counter on the page; NULL before map_page() */
void map_page(void);
void start(void *(*routine)(void *), void *arg); /* a detached thread */
void ms(unsigned n);                             /* sleep */

/* Thread routines, and two ways that others are made of. */
void *sleeps(void *unused);
void *allocates(void *unused);
void *waits_for_signals(void *unused);
int threads100(void);

#endif
