/* SPDX-License-Identifier: MIT */
/*
 * heap.h - heaptally's heap in a process that stands still: how much of it is what, and where.
 *
 *    address space of a chunk, page by page (4 KiB), by /proc/PID/pagemap:
 *
 *    | head ///// | pool: live blocks and free ones | span | free slots, resident | free slots, given back |
 *      metadata     live + external (free inside)     live   cached                 nothing
 *
 * Equation, exact by construction (bytes):
 *    resident = asked + internal + external + cached + metadata + ledger - untouched
 *      asked      what the program asked for and has not freed (the account's)
 *      internal   capacity of live blocks less asked: rounding up to a class, a slot or a page
 *      external   resident pages of pools with live blocks, less the capacity of those
 *      cached     resident pages of pools without a live block, and of free slots: would go back when purged
 *      metadata   resident pages of chunk heads and metadata regions, less the ledgers'
 *      ledger     resident bytes of ledgers: there because of the accounting, not in an ordinary run
 *      untouched  capacity of live blocks whose pages the program has not touched: not resident, so taken off again
 */
#ifndef HEAPTALLY_FRAG_HEAP_H
#define HEAPTALLY_FRAG_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/account.h"

enum heap_tile_kind {
    TILE_HEAD, /* descriptors */
    TILE_POOL, /* a pool with live blocks */
    TILE_SPAN,
    TILE_CACHED, /* nothing live, resident */
    TILE_GONE,   /* nothing live, not resident */
};

/* A run of slots of one use, for the map; never across an arena's end. Ascending by address. */
struct heap_tile {
    uint64_t start;
    uint32_t bytes;
    enum heap_tile_kind kind;
    uint32_t block_size;
    float occupancy; /* live bytes / bytes */
};

/* What blocks of one capacity cost; by account_bucket(). */
struct heap_class {
    uint64_t pools, live, capacity; /* blocks, bytes of theirs */
    uint64_t asked;                 /* of the account */
    uint64_t free;                  /* resident and free, in pools that have a live block */
};

struct frag_heap {
    double s; /* when, seconds of the program's time */
    uint64_t asked, blocks;
    uint64_t internal, external, cached, metadata, ledger, untouched;
    uint64_t resident; /* the sum above */
    uint64_t capacity; /* of live blocks: asked + internal */
    uint64_t mapped;   /* address space of chunks and mappings */
    uint64_t chunks, arenas, pools, spans, mappings, mapping_bytes;
    uint64_t anonymous; /* of the whole process then, smaps_rollup */
    uint64_t damage;    /* complaints of the walk: > 0 when a process was caught in the middle of something */
    struct heap_class class[ACCOUNT_BUCKETS];
    struct heap_tile *tile;
    size_t tiles, tile_capacity;
};

enum heap_status { HEAP_OK, HEAP_UNREADABLE, HEAP_OTHER_LAYOUT, HEAP_NO_MEMORY };

/* Look at process pid, which stands still. The page's counters are those of this moment. *ret is to be freed after
 * HEAP_OK only. */
enum heap_status frag_heap_read(int pid, const struct account_page *page, struct frag_heap *ret);
/* Ledgers of pools that are gone stay resident, spare: `most` is what all ledgers together ever were. */
void frag_heap_deduct_ledger(struct frag_heap *heap, uint64_t most);
bool frag_heap_copy(const struct frag_heap *heap, struct frag_heap *ret);
void frag_heap_free(struct frag_heap *heap);

#endif
