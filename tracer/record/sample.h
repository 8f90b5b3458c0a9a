/* SPDX-License-Identifier: MIT */
/*
 * sample.h - which allocations are recorded when not all are, and for how many each then stands.
 *
 *     bytes allocated by a thread  ----x--------x-x-------------x---->     points of a Poisson process, one in `mean` bytes
 *                                  [ 64 ][ 200 ][16]...                    a block on which one falls is recorded
 *
 * A block of s bytes is recorded with the chance p = 1 - exp(-s / mean), whatever was before it, and then counts as 1 / p
 * blocks and s / p bytes: so every sum over recorded blocks is, on average, the sum over all. What one adds to the variance
 * of a sum of bytes is estimated by (1 - p) / p^2 * s^2 (Horvitz and Thompson, 1952). All three are functions of the size, so
 * what an allocation adds its free takes away again.
 *
 * No libm in the program: exp and log are made here, to nine digits.
 */
#ifndef HEAPTALLY_SAMPLE_H
#define HEAPTALLY_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A thread's. Zero: sample_takes() will begin it, with a seed of the kernel's. */
struct sample_state {
    uint64_t random;
    int64_t left; /* bytes up to the next point */
};

struct sample_weight {
    uint64_t blocks; /* in 1/TALLY_PARTS */
    uint64_t bytes;
    double variance; /* of the sum of bytes */
};

/* mean > 0, here and below. */
void sample_begin(struct sample_state *state, uint64_t seed, uint64_t mean);
/* Is this block recorded? */
bool sample_takes(struct sample_state *state, size_t size, uint64_t mean);
void sample_weigh(size_t size, uint64_t mean, struct sample_weight *ret);

#endif
