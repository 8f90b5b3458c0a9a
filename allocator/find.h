/* SPDX-License-Identifier: MIT */
/*
 * find.h - from an address to what it is: the slow, complete answer behind free, realloc and alloc_find().
 */
#ifndef HEAPTALLY_FIND_H
#define HEAPTALLY_FIND_H

#include "allocator/allocator.h"
#include "allocator/layout.h"

enum place_kind { PLACE_NONE, PLACE_POOL, PLACE_SPAN, PLACE_MAPPING, PLACE_EMERGENCY };

/* Where an address lies; kind says which fields mean something. */
struct place {
    enum place_kind kind;
    struct pool *pool; /* PLACE_POOL, PLACE_SPAN */
    uint32_t index;    /* PLACE_POOL: which block */
    struct mapping *mapping;
    struct emergency_block *emergency;
};

/* ALLOC_OK: p starts a live block. On ALLOC_INTERIOR and ALLOC_DOUBLE_FREE *ret is the block's place if there
 * is one, else its kind is PLACE_NONE. */
enum alloc_status place_find(uintptr_t p, struct place *ret);

/* The block at a place that is not PLACE_NONE. */
struct alloc_block place_block(const struct place *place);

#endif
