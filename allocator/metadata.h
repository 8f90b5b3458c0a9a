/* SPDX-License-Identifier: MIT */
/*
 * metadata.h - memory for descriptors, heaps, ledgers and tables: never near a block, never given back.
 *
 *   platform_map_metadata()  pages, cut from 1 MiB regions          registered, so that no scanner takes it
 * for a root metadata_take(size)      from bins by size, then pages for what comes and goes
 *            metadata_keep(size)      from pages                             for what stays
 *
 * What is returned goes into the bin of its size and comes out for the next request of that size, so
 * repeating work does not grow it. Reuse is dirty; take clears nothing.
 */
#ifndef HEAPTALLY_METADATA_H
#define HEAPTALLY_METADATA_H

#include <stddef.h>
#include <stdint.h>

/* size > 0, at most 2^40; 64-byte aligned. NULL when the kernel refuses. */
void *metadata_take(size_t size);
/* For what is never given back: the size is no power of two, which would be a page for a heap. */
void *metadata_keep(size_t size);
/* p from metadata_take(size). */
void metadata_give(void *p, size_t size);

uint64_t metadata_bytes(void);

#endif
