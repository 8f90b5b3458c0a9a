/* SPDX-License-Identifier: MIT */
/*
 * mapping.h - blocks too large for a span: one mmap each, on a 4 MiB boundary, so that the address map knows
 * it.
 *
 *   |<- granule ->|<- granule ->|<- granule ->|
 *   | mapping ....................... |  tail: not ours, left to others
 *
 * MAPPING_UNUSED  descriptor on the unused list, or in the hands of one thread
 * MAPPING_LIVE    a block; the map leads to it from every granule
 * MAPPING_STUCK   freed, but the kernel would not unmap it (too many areas): kept for the next request that
 * fits
 *
 * Threads: descriptors change under the arena lock; the kernel is called without it. The fields of a live one
 * are constant, but for realloc, which its caller must not let race with anything else on the block.
 */
#ifndef HEAPTALLY_MAPPING_H
#define HEAPTALLY_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

#include "allocator/allocator.h"
#include "allocator/layout.h"

/* Zeroed unless *ret_zeroed is false. */
void *mapping_alloc(size_t size, size_t alignment, bool *ret_zeroed);
enum alloc_status mapping_free(struct mapping *mapping, void *p);
/* The block's new address, or NULL: it is as it was. */
void *mapping_resize(struct mapping *mapping, size_t size);
/* Arena lock held. true when one was unmapped. */
bool mappings_retry_unmap(void);

#endif
