/* SPDX-License-Identifier: MIT */
/*
 * span.h - blocks of a few slots to 2 MiB: runs of whole slots, one lock round trip each.
 *
 * Threads: any; everything happens under the arena lock.
 */
#ifndef HEAPTALLY_SPAN_H
#define HEAPTALLY_SPAN_H

#include <stdbool.h>
#include <stddef.h>

#include "allocator/allocator.h"
#include "allocator/layout.h"

/* size and alignment at most SPAN_SIZE_MAX. Zeroed unless *ret_zeroed is false. */
void *span_alloc(size_t size, size_t alignment, bool *ret_zeroed);
enum alloc_status span_free(struct pool *span);
/* In place, by giving slots back or taking the next ones; false leaves it as it was. */
bool span_resize(struct pool *span, size_t size);

static inline size_t span_capacity(const struct pool *span)
{
    return (size_t)span->slots << SLOT_SHIFT;
}

#endif
