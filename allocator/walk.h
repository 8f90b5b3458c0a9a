/* SPDX-License-Identifier: MIT */
/*
 * walk.h - list the live blocks and the regions of an allocator through a read callback.
 *
 *   struct alloc_root ---> chunks ---> descriptors ---> pools, spans     the same code in the process itself,
 *        |        \-----> mappings                                       on a frozen copy of it, on a file
 *        \--------------> heaps (their free lists)
 *
 * Addresses are the target's, as uint64_t; nothing is ever dereferenced but through `read`. The target may be
 * damaged: every number is distrusted, every list is bounded, and damage is told, not followed.
 * Pure and reentrant. Needs memory through `malloc` of its own process (it runs in the companion or in tests,
 * never in the preloaded library).
 */
#ifndef HEAPTALLY_WALK_H
#define HEAPTALLY_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/allocator.h"

struct walk_source {
    /* Copy len bytes from the target's addr into buf; false when any of them cannot be read. */
    bool (*read)(void *ctx, uint64_t addr, void *buf, size_t len);
    void *ctx;
};

enum walk_status {
    WALK_OK,
    WALK_DAMAGED,      /* what could be walked was; see `complain` */
    WALK_UNREADABLE,   /* the root could not be read */
    WALK_NOT_OURS,     /* no allocator root at that address */
    WALK_OTHER_LAYOUT, /* an allocator of another layout version */
    WALK_NO_MEMORY,
    WALK_STOPPED, /* the callback returned false */
};

enum walk_kind { WALK_POOL, WALK_SPAN, WALK_MAPPING };

struct walk_block {
    uint64_t addr;
    uint64_t capacity;
    enum walk_kind kind;
    uint64_t pool; /* address of the first byte of its pool, span or mapping */
    bool has_ledger;
    unsigned char ledger[ALLOC_LEDGER_BYTES]; /* zeros when !has_ledger */
};

enum walk_region_kind {
    WALK_REGION_CHUNK, /* 4 MiB of pools and spans */
    WALK_REGION_MAPPING,
    WALK_REGION_METADATA, /* descriptors, ledgers, heaps, tables: never a root, never a block */
};

struct walk_region {
    uint64_t start, end;
    enum walk_region_kind kind;
};

/* A pool, a span or a mapping as a whole, with live blocks or without. */
struct walk_pool {
    uint64_t start, bytes;
    enum walk_kind kind;
    uint64_t block_size;           /* of a span or mapping: its bytes */
    uint64_t capacity, live;       /* blocks */
    uint64_t ledger, ledger_bytes; /* where its blocks' entries are; 0 when it has none of its own */
};

struct walk_visitor {
    bool (*block)(void *ctx, const struct walk_block *); /* may be NULL; in ascending order within a region */
    bool (*region)(void *ctx, const struct walk_region *); /* may be NULL */
    bool (*pool)(void *ctx, const struct walk_pool *); /* may be NULL; after its blocks, ascending as these */
    void (*complain)(void *ctx, const char *line);     /* may be NULL */
    void *ctx;
};

enum walk_status walk_allocator(const struct walk_source *source, uint64_t root,
                                const struct walk_visitor *visitor);

const char *walk_status_text(enum walk_status status);

#endif
