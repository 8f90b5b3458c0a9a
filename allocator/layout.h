/* SPDX-License-Identifier: MIT */
/*
 * layout.h - every structure that a reader of a frozen process has to know, and nothing else.
 *
 *   alloc_root --> map_root[4096] --> map_leaf[8192] --> chunk base         an entry is a chunk's address, or a
 *   (in bss)       (metadata)                      \--> mapping | 1        mapping descriptor's with bit 0 set
 *
 *   chunk, 4 MiB:   | descriptors 0, 1 = chunk header | descriptor 2 | ... | 255 || slot 2 | ... | slot 255 |
 *                   |<------- head: slots 0 and 1, 256 x 128 bytes ----------->||<----- 16 KiB each ------>|
 *
 * One descriptor per slot, at the slot's own index: mask and shift find it, and because the head is dense,
 * equal low address bits of pools do not make their descriptors fight for one cache set. A block that
 * overflows cannot reach a descriptor, unless it is the last of the chunk below.
 *
 * States of a slot, and what its descriptor means in each
 *   SLOT_FREE   free_map bit set. owner 0. `divisor`, `block_size`, `distance` are left over from the last use,
 *               and only serve to name a wrong free. Exit: slots_take() under the arena lock.
 *   SLOT_POOL   the first slot of a pool: every field but span_ledger means something.
 *   SLOT_SPAN   the first slot of a span: `slots`, `span_ledger`. owner 0.
 *   SLOT_CACHED the first slot of a span that was freed and lies in a thread's cache: as SLOT_SPAN, and `next`.
 *   SLOT_RUN    a later slot of a pool or span: only `distance`, in slots, back to its first. owner 0.
 *   slots 0, 1  never handed out: their descriptors are the chunk's header; owner 0 by layout.
 *   past `mapped_slots` of a chunk that was mapped in part: SLOT_FREE with no bit in free_map; not ours.
 *
 * States of a pool (owned by a heap H; `owner` is H, or H with POOL_UNLISTED)
 *   active      the first of H's ring of its class: the blocks H hands out next are on H's bin, not in the pool
 *   usable      owner == H; further on that ring; remote notify QUIET (WATCHED in the orphanage)
 *   full        owner == H | POOL_UNLISTED; on H's `full` ring; notify WATCHED, or QUEUED once another thread
 *               has freed into it, until H drains its pending stack. `full` set: `used` is 1 instead of
 *               `capacity`, so that the owner's first free into it finds 0, as the last free of a pool does
 *   empty       used == 0: usable, and kept for a while (heap.h); otherwise given back
 * A block of a pool is live iff its index is carved (offset < carved) and it is on none of: the pool's
 * free_list, its owner's bin, the remote list (and `torn_list`, in a fork's child), and it touches no purged page.
 * Blocks on the bin and on the remote list are counted in `used`.
 *
 * Invariant of a quiescent pool, `used` read as capacity while `full` is set
 *   carved / block_size == used + length(free_list) + blocks that touch a purged page
 *
 * Lists of free blocks. A list is kept as the address of its first block ^ secret; so is the link in each block,
 * and the last one leads to its chunk's base | 8, which is no block, but can be read as one: its link is 0, and
 * the difference to any list is large. An empty bin of no pool leads to such a place of its own (state.h).
 * A block's second word, its mark, is its own address ^ secret. The mark tells, on free, that a block may already be
 * free (then the lists are searched to be sure). That link and list differ only in their lower 22 bits tells, on
 * allocation, that the link was not written over. Handing a block out clears its mark.
 *
 * Threads: who writes a field is said at the field. "arena" is the arena lock (state.h).
 */
#ifndef HEAPTALLY_LAYOUT_H
#define HEAPTALLY_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

/* Data of the fast paths: reached without the global offset table in the shared library. */
#define LAYOUT_HIDDEN __attribute__((visibility("hidden")))

#define LAYOUT_VERSION 2u
#define LAYOUT_MAGIC   "heaptly"

#define SLOT_SHIFT   14
#define SLOT_SIZE    ((size_t)1 << SLOT_SHIFT)
#define CHUNK_SHIFT  22
#define CHUNK_SIZE   ((size_t)1 << CHUNK_SHIFT)
#define CHUNK_SLOTS  256u
#define HEAD_SLOTS   2u
#define ARENA_SLOTS  16u
#define ARENA_SHIFT  18
#define CHUNK_ARENAS (CHUNK_SLOTS / ARENA_SLOTS)
#define MAP_WORDS    (CHUNK_SLOTS / 64)

#define MAP_LEAF_BITS 13
#define MAP_ROOT_BITS 12
#define MAP_BITS      (CHUNK_SHIFT + MAP_LEAF_BITS + MAP_ROOT_BITS) /* 47: all of a program's addresses */
#define MAP_MAPPING   ((uintptr_t)1)                                /* entry bit: a mapping, not a chunk */

#define CLASS_COUNT       72
#define POOL_SLOTS_MAX    8u
#define POOL_CAPACITY_MAX 1024u
#define POOL_SIZE_MAX     ((size_t)32 << 10) /* largest block in a pool */
#define POOL_PAGE_SHIFT   12                 /* a pool is 32 pages at most */
#define SPAN_SIZE_MAX     ((size_t)2 << 20)  /* largest block in a span */
#define SPAN_SLOTS_MAX    ((unsigned)(SPAN_SIZE_MAX >> SLOT_SHIFT))
#define POOL_UNLISTED     ((uintptr_t)1) /* bit of pool.owner */
#define LIST_END          ((uint64_t)8)  /* bit of an address that ends a list of free blocks */

enum slot_state { SLOT_FREE, SLOT_POOL, SLOT_SPAN, SLOT_RUN, SLOT_CACHED };

/* pool.remote: bits 0..15 offset / 16 + 1 of the first block, 16..31 length, 32..33 who wants to know (remote.h).
 */
#define REMOTE_HEAD(word)   ((uint32_t)((word)&0xffff))
#define REMOTE_COUNT(word)  ((uint32_t)((word) >> 16 & 0xffff))
#define REMOTE_NOTIFY(word) ((unsigned)((word) >> 32 & 3))
enum remote_notify { REMOTE_QUIET, REMOTE_WATCHED, REMOTE_QUEUED };

struct free_block {
    uint64_t link; /* the next block, or the list's end, ^ secret */
    uint64_t mark; /* its own address ^ secret */
};

struct pool {
    /* First line: the owner's. */
    uintptr_t start;  /* its first block. Constant while a pool */
    uint64_t carved;  /* bytes from the start that ever were on a list. Owner */
    uint64_t divisor; /* ceil(2^64 / block_size): offset * divisor < divisor iff it is a multiple. Constant */
    uint64_t remainder;  /* divisor - 1, for the fast free to compare with. Constant while a pool */
    uint64_t free_list;  /* blocks the owner freed, and what else came back. Owner */
    uint32_t used;       /* carved blocks that are not on free_list. Owner; read by statistics */
    uint32_t block_size; /* constant while a pool */
    uint16_t capacity;   /* blocks. Constant while a pool */
    uint8_t state;       /* enum slot_state. arena */
    uint8_t size_class;  /* constant while a pool */
    uint8_t slots;       /* of the whole pool or span. arena */
    uint8_t distance;    /* slots back to the first one. arena */
    uint8_t torn;        /* its owner vanished in a fork: recount before use. arena */
    uint8_t full;        /* `used` stands for `capacity`. Owner */
    uint8_t fresh : 1;   /* its memory was zero when taken: what is carved is zero. Constant while a pool */
    uint8_t list_is_zero : 1; /* what is on the bin came straight from carving fresh memory. Owner */
    uint8_t spare : 1;        /* empty, and counted in heap.spare_pages. Owner */
    uint8_t passed : 1;       /* had nothing to hand out when last asked. Owner */
    uint8_t shorts : 4;       /* how often its list came back short, lately. Owner */
    uint8_t age : 7;          /* pool_pages.c: whether free_list rests. Owner */
    uint8_t searched : 1;     /* as it rests, no more pages of it can go back. Owner */
    uint16_t blocks;          /* carved, and not purged: those that `used` and free_list are of. Owner */
    uint32_t purged; /* 1 << page: given back, its blocks are on no list (pool_pages.h). Owner; read by any */

    /* Second line: everybody's, and what is rarely used. */
    uint64_t remote; /* see REMOTE_*. Any thread, by compare and swap */
    uintptr_t owner; /* struct heap *, | POOL_UNLISTED. The owning thread, or arena; read by any thread */
    /* On the owner's pending stack. The thread that made it QUEUED, then the drainer. */
    struct pool *pending_next;
    struct pool *next, *prev; /* ring of the owner's list. Owner */
    union {
        struct {
            unsigned char *ledger; /* capacity * ALLOC_LEDGER_BYTES, or NULL. Constant while a pool */
            uint64_t torn_list;    /* what was on the vanished owner's bin; 0 = nothing. arena */
        };
        unsigned char span_ledger[16]; /* the user's, when a span */
    };
    uint32_t arena_next, arena_prev; /* arena ids (address >> 18), in each arena's first descriptor. arena */
};
_Static_assert(sizeof(struct pool) == 128, "256 descriptors fill the head exactly");
_Static_assert(offsetof(struct pool, remote) == 64, "the owner's line holds nothing others write");

/* Overlays descriptors 0 and 1. All fields: arena. */
struct chunk_header {
    uint64_t magic;
    uint64_t no_link; /* stays 0: the allocation that comes to the end of a list reads its link here */
    uint64_t free_map[MAP_WORDS]; /* 1 = free. Bits 0 and 1 stay 0 */
    uint32_t table_index;         /* in alloc_state.chunks */
    uint32_t free_slots;
    uint32_t mapped_slots; /* of the 256, as many as the kernel gave; the rest is not ours. Constant */
    uint32_t plain_pages;  /* 1: huge pages are as the system has them; 0: advised against */
    uint8_t arena_free[CHUNK_ARENAS]; /* free slots of each arena */
    uint32_t virgin_arenas;           /* 1 << arena: never used, and in no bin */
    unsigned char unused[36];
    uint32_t arena_next, arena_prev; /* arena 0's, at the place every other arena has them */
    uint64_t dirty_map[MAP_WORDS];   /* free, resident, since the last tick */
    uint64_t aged_map[MAP_WORDS];    /* free, resident, for a whole tick: the next one returns it */
};
_Static_assert(offsetof(struct chunk_header, no_link) == LIST_END, "the end of a list");
_Static_assert(offsetof(struct chunk_header, arena_next) == offsetof(struct pool, arena_next), "overlay");
_Static_assert(sizeof(struct chunk_header) <= 256, "two descriptors");

struct chunk {
    union {
        struct chunk_header header;
        struct pool pools[CHUNK_SLOTS];
    };
};
_Static_assert(sizeof(struct chunk) == HEAD_SLOTS << SLOT_SHIFT, "the head is its slots");

#define CHUNK_MAGIC 0x6b6e756863746868u

/* A mapping's descriptor. Never unmapped, reused: a racing reader sees an old one, never another type. */
enum mapping_state { MAPPING_UNUSED, MAPPING_LIVE, MAPPING_CACHED /* freed, kept mapped for reuse */ };
struct mapping {
    uintptr_t start;      /* arena */
    uint64_t length;      /* bytes, whole pages. arena */
    uint32_t state;       /* enum mapping_state. arena */
    uint32_t aged;        /* cached for a whole tick. arena */
    struct mapping *next; /* unused or cached list. arena */
    unsigned char ledger[16];
    uint64_t dirty; /* cached: bytes from the start that may be resident and not zero. arena */
    uint64_t unused;
};
_Static_assert(sizeof(struct mapping) == 64, "one line");

struct map_leaf {
    uintptr_t entry[1u << MAP_LEAF_BITS]; /* arena, release; read by any thread */
};

/* Spans that a thread freed, by their slots, for its next requests. The lock is for a thread that gives the spans of
 * all caches back (a tick, memory running out): its owner takes it for a few instructions, and does without the cache
 * when it is held. All fields: lock. Both are also read without it, to see whether there is anything: who reads too
 * early leaves it to the next tick, or does without. */
struct span_cache {
    uint32_t word; /* lock and counts: SPANS_* in span.h. Any thread, by exchange; the holder */
    struct pool *bin[SPAN_SLOTS_MAX + 1]; /* by next */
};

/*
 * One per thread, reused, never returned to the kernel: a stale pointer to a heap always points to a heap.
 *
 * `own` answers the fast free's question in one load: the heap's pool at a slot, by the low bits of the slot's
 * number (address >> 14), or the empty pool, which holds no address. Whoever is told apart by more bits than
 * the table has is just not in it. It is complete proof: the address is checked against the pool's own range.
 */
struct heap {
    uint64_t bin[CLASS_COUNT];         /* blocks of the class's active pool, to be handed out. Owner */
    uint64_t secret;                   /* copy of alloc_root's: one load away on the fast path */
    struct pool **own;                 /* own_mask + 1 entries. Owner */
    uint64_t own_mask;                 /* Owner */
    uint8_t class_of_16[72];           /* by (size + 15) / 16 (coarse.h). Owner */
    struct pool *current[CLASS_COUNT]; /* head of the ring of usable pools, or &alloc_empty_pool. Owner */
    struct pool *full;                 /* ring of unlisted pools, or NULL. Owner */
    struct pool *pending;   /* full pools others freed into. Pushed by any thread, drained by the owner */
    struct heap *next_all;  /* every heap there is. Constant once linked; arena */
    struct heap *next_idle; /* while no thread has it. arena */
    uint64_t trim_at;       /* ms: when to look for empty pools again. Owner */
    uint32_t spare_pages;   /* resident ones of empty pools that are kept. Owner */
    uint32_t slots;         /* of all its pools. Owner */
    uint32_t events;        /* pools that became usable or empty by a free. Owner */
    uint32_t inherited;     /* spare_pages when its thread came. Owner */
    uint32_t busy;          /* in a slow path: a signal handler must not enter. Owner */
    uint32_t attached;      /* the thread that has it, 1 when not known, 0 none (vanished.h). arena */

    /* Large blocks. */
    struct span_cache spans;
    uint32_t grown; /* slots of its new pools since has_grown() said so, or its thread came. Owner */
    uint32_t unused;

    /* Coarse classes (coarse.h). */
    uint8_t class_now[CLASS_COUNT]; /* what class serves a class. Owner */
    uint64_t coarse_begun;          /* 1 << class / 2: one that has served others. Owner */
};

#define METADATA_PER_TABLE 255u
struct metadata_region {
    uint64_t start, end;
};
/* Where metadata memory is; tables are linked, newest first. */
struct metadata_table {
    struct metadata_table *next; /* constant */
    uint64_t count;              /* metadata lock; release, so that a reader sees whole entries */
    struct metadata_region region[METADATA_PER_TABLE];
};
_Static_assert(sizeof(struct metadata_table) <= 4096, "one page");

/* Where a reader starts. Sizes are there so that a mismatch is refused by name, not misread. */
struct alloc_root {
    char magic[8];
    uint32_t layout_version;
    uint32_t root_size, pool_size, heap_size, mapping_size;
    uint32_t chunk_shift, slot_shift, map_leaf_bits, map_root_bits, ledger_bytes;
    uint64_t secret;                 /* set once, before the first block; its upper half is never 0 */
    struct map_leaf **map;           /* 1 << map_root_bits leaves. Constant */
    struct metadata_table *metadata; /* metadata lock, release */
    uint64_t mapped, mapped_peak;    /* bytes of chunks and mappings. arena */
    uint64_t corruptions;            /* lists found overwritten. Any thread */
};

#endif
