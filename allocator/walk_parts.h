/* SPDX-License-Identifier: MIT */
/*
 * walk_parts.h - what walk.c and walk_chunk.c share: one walk's buffers and its reporting. Internal to the
 * walker.
 */
#ifndef HEAPTALLY_WALK_PARTS_H
#define HEAPTALLY_WALK_PARTS_H

#include "allocator/layout.h"
#include "allocator/walk.h"

#define WALK_POOL_BYTES (POOL_SLOTS_MAX << SLOT_SHIFT)

struct walk {
    const struct walk_source *source;
    const struct walk_visitor *visitor;
    uint64_t secret;
    bool damaged, stopped;
    struct map_leaf *leaf;
    struct chunk *head;    /* copy of a chunk's head */
    unsigned char *memory; /* copy of a pool's blocks */
    unsigned char *ledger; /* copy of a pool's ledger */
    struct heap *heap;     /* copy of the heap at heap_addr */
    uint64_t heap_addr;
};

bool walk_read(struct walk *walk, uint64_t addr, void *buf, size_t len);
void walk_complain(struct walk *walk, const char *what, uint64_t addr);
void walk_region(struct walk *walk, uint64_t start, uint64_t end, enum walk_region_kind kind);
void walk_block(struct walk *walk, const struct walk_block *block);

void walk_tell_pool(struct walk *walk, const struct walk_pool *pool);

/* Tell the chunk at `base` and its blocks. */
void walk_chunk(struct walk *walk, uint64_t base);
/* The same for a region of emergency.h, of which `granule` is one. */
void walk_emergency(struct walk *walk, uint64_t granule, uint64_t base);

#endif
