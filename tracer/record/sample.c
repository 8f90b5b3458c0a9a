/* SPDX-License-Identifier: MIT */
#include "tracer/record/sample.h"

#include "allocator/platform.h"
#include "tracer/format/tables.h"

#define LN2 0.69314718055994530942

/* 1 - exp(-x), x >= 0: a series for a small part of x, doubled as often as that was halved. */
static double one_minus_exp(double x)
{
    unsigned halvings = 0;

    if (x > 40)
        return 1;
    while (x > 1.0 / 16) {
        x /= 2;
        halvings++;
    }
    double y = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6 * (1 - x / 7))))));
    while (halvings-- > 0)
        y = y * (2 - y);
    return y;
}

/* -log(u), u = bits / 2^64 in (0, 1): the exponent's share, and a series in (m - 1) / (m + 1) for m in [1, 2). */
static double minus_log(uint64_t bits)
{
    unsigned shift = (unsigned)__builtin_clzll(bits);
    double m = (double)(bits << shift) / 9223372036854775808.0, t = (m - 1) / (m + 1), square = t * t;
    double sum = 0, term = t;

    for (unsigned i = 1; i <= 19; i += 2, term *= square)
        sum += term / i;
    return (shift + 1) * LN2 - 2 * sum;
}

static uint64_t next_random(struct sample_state *state)
{
    state->random ^= state->random >> 12;
    state->random ^= state->random << 25;
    state->random ^= state->random >> 27;
    return state->random * 0x2545f4914f6cdd1du;
}

static int64_t next_distance(struct sample_state *state, uint64_t mean)
{
    double distance = minus_log(next_random(state) | 1) * (double)mean;

    return distance < 4e18 ? (int64_t)distance + 1 : (int64_t)4000000000000000000;
}

void sample_begin(struct sample_state *state, uint64_t seed, uint64_t mean)
{
    state->random = seed | 1;
    state->left = next_distance(state, mean);
}

bool sample_takes(struct sample_state *state, size_t size, uint64_t mean)
{
    int64_t bytes = size == 0 ? 1 : size < (size_t)1 << 60 ? (int64_t)size : (int64_t)1 << 60;

    if (__builtin_expect(state->random == 0, 0))
        sample_begin(state, platform_random() ^ (uintptr_t)state * 0x9e3779b97f4a7c15u, mean);
    state->left -= bytes;
    if (state->left > 0)
        return false;
    state->left = next_distance(state, mean); /* it has no memory of the last one */
    return true;
}

void sample_weigh(size_t size, uint64_t mean, struct sample_weight *ret)
{
    double bytes = size == 0 ? 1 : (double)size, p = one_minus_exp(bytes / (double)mean);

    ret->blocks = (uint64_t)(TALLY_PARTS / p + 0.5);
    ret->bytes = size == 0 ? 0 : (uint64_t)(bytes / p + 0.5);
    ret->variance = (1 - p) / (p * p) * bytes * bytes;
}
