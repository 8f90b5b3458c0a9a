/* SPDX-License-Identifier: MIT */
/*
 * order.h - which findings a report shows, in which order, and the sums over them; private to tracer/report.
 *
 *    groups --> findings (lost, cycle) largest first | possible | suppressed
 *
 * Bytes first, then blocks, then the recording's own order: the same recording always prints the same way.
 */
#ifndef HEAPTALLY_ORDER_H
#define HEAPTALLY_ORDER_H

#include <stdbool.h>

#include "tracer/format/recording.h"

struct order {
    uint32_t *groups; /* indices: findings, then possible, then suppressed */
    uint32_t findings, possible, suppressed;
};

bool order_groups(const struct recording *rec, struct order *ret); /* false when memory is out */
void order_free(struct order *order);

/* Sums of what a verdict is about. Suppressed groups are in `suppressed_*` only. */
struct totals {
    uint64_t lost_blocks, lost_bytes;
    uint64_t cycles, cycle_blocks, cycle_bytes;
    uint64_t held_blocks, held_bytes;
    uint64_t suppressed_groups, suppressed_blocks, suppressed_bytes;
};
struct totals order_totals(const struct recording *rec);

#endif
