/* SPDX-License-Identifier: MIT */
/*
 * ranges.h - sets of addresses as sorted intervals.
 *
 *    a:        [=======)      [=====)        a minus b: what is left of VMAs that the kernel merged, when the
 *    b:            [====)  [==)              parts that are known (our chunks, stacks, TLS) are taken out
 *    a minus b:[===)          [=====)
 *
 * Two states: loose (after ranges_add) and normal (after ranges_normalize: ascending, disjoint, not touching, none
 * empty). Everything that asks wants the normal state. Plain values, no globals; false means memory is out.
 */
#ifndef HEAPTALLY_RANGES_H
#define HEAPTALLY_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
    uint64_t start, end; /* [start, end) */
};

struct ranges {
    struct range *items;
    size_t count, capacity;
};

void ranges_free(struct ranges *set);
/* Empty and inverted intervals are dropped. */
bool ranges_add(struct ranges *set, uint64_t start, uint64_t end);
void ranges_normalize(struct ranges *set);
/* Into a normal set, which stays normal. */
bool ranges_insert(struct ranges *set, uint64_t start, uint64_t end);

/* The interval that holds addr, or NULL. */
const struct range *ranges_find(const struct ranges *set, uint64_t addr);

/* Call back for each piece of [start, end) that is not in the set, ascending; false from the callback stops. */
typedef bool range_fn(void *ctx, uint64_t start, uint64_t end);
bool ranges_outside(const struct ranges *set, uint64_t start, uint64_t end, range_fn *fn, void *ctx);

#endif
