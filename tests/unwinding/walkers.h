/* SPDX-License-Identifier: MIT */
/* walkers.h - what walkers.c and its remote half share. */
#ifndef TESTS_UNWINDING_WALKERS_H
#define TESTS_UNWINDING_WALKERS_H

#include <stdbool.h>
#include <stdint.h>

#define OWN static __attribute__((noipa))

/* What one walk has met. */
struct met {
    unsigned frames;
    unsigned inside; /* frames whose ip lies in [low, high) */
    bool root;       /* the thread's own function is among them */
};

/* A function of walkers.c, from its own symbol to the next one's. */
struct range {
    uintptr_t low, high;
};

/* walkers_remote.c: by the remote interface of libunwind-x86_64, the very library that records. */
bool remote_start(void);
struct met remote_walk(struct range wanted, struct range root);
/* Another address space, other caching, an empty cache: whatever `turn` says. */
bool remote_disturb(unsigned turn);

#endif
