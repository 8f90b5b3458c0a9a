/* SPDX-License-Identifier: MIT */
/*
 * tables.h - what tracer/record keeps in the target's memory, as the companion reads it.
 *
 *   struct record_root
 *      |-- sites: nodes in segments, node = (ip, parent node, module); a site id is its innermost frame's node
 *      |-- tallies: a list of threads, each with a table (open addressing) of what its calls did, by site
 *      |-- modules: entries in one array; an entry is never changed into another module, only marked unloaded
 *      '-- ledger entries: one per block, in the allocator's ledger (struct ledger_entry)
 *
 * All of it is private memory of the target: a frozen copy cannot change under its reader. Byte order and word size
 * are the target's own (x86-64). RECORD_LAYOUT_VERSION changes with any of it, and a reader refuses others by name.
 * Readers distrust every number: ids may be out of range, parents always have smaller ids than children (so a chain
 * ends), strings may lack their end.
 */
#ifndef HEAPTALLY_TABLES_H
#define HEAPTALLY_TABLES_H

#include <stdint.h>

#define RECORD_MAGIC          0x31444345524c5448ull /* "HTLRECD1" */
#define RECORD_LAYOUT_VERSION 6u

/* Kinds of allocation, in ledger_entry.kind. */
enum alloc_kind {
    KIND_NONE, /* no entry: allocated before recording, or inside the recorder */
    KIND_MALLOC,
    KIND_CALLOC,
    KIND_REALLOC,
    KIND_ALIGNED, /* aligned_alloc, memalign, posix_memalign, valloc, pvalloc */
    KIND_NEW,     /* operator new: read from the innermost frames */
    KIND_NEW_ARRAY,
};

enum ledger_state { LEDGER_NEVER, LEDGER_LIVE, LEDGER_FREED };

/* In ledger_entry.flags: the program has said (__lsan_ignore_object, or allocated under __lsan_disable) that this
 * block is no leak. It counts as a root: what it points to is reachable. */
#define LEDGER_IGNORED 1u
/* The library's own: the last page of the block faults (harden=1). */
#define LEDGER_GUARDED 2u
/* libstdc++'s operator new called malloc. */
#define LEDGER_NEW 4u

struct ledger_entry {
    uint32_t site;     /* 0: none */
    uint32_t size_low; /* the size asked for, 48 bits */
    uint16_t size_high;
    uint8_t kind;  /* enum alloc_kind */
    uint8_t state; /* enum ledger_state */
    union {
        struct { /* LEDGER_LIVE */
            uint8_t
                generation; /* forks between the recording's first process and the one that allocated, saturating */
            uint8_t flags; /* LEDGER_* above */
            /* When it was allocated, in ledger_when()'s code: never later than it was. Means something if there is a site. */
            uint16_t when;
        };
        uint32_t
            free_site; /* LEDGER_FREED: the stack that freed it, 0: none; until the block is handed out again */
    };
};
_Static_assert(sizeof(struct ledger_entry) == 16, "the allocator keeps 16 bytes per block");

static inline uint64_t ledger_size(const struct ledger_entry *e)
{
    return (uint64_t)e->size_high << 32 | e->size_low;
}

/* --- the time of an allocation ----------------------------------------------------------------------------------
 *
 * A time since the recording began, in 1/16 s, as 16 bits: the first 256 s exactly, then to 1/4096 of it, always rounded
 * down; 97 days and more are one.
 *
 *    15      12 11              0
 *   +----------+-----------------+     exponent 0: mantissa
 *   | exponent |    mantissa     |     else:       (4096 | mantissa) << (exponent - 1)
 *   +----------+-----------------+
 */
#define LEDGER_WHEN_PER_S 16u

static inline uint16_t ledger_when(uint64_t sixteenths)
{
    uint32_t exponent;

    if (sixteenths < 4096)
        return (uint16_t)sixteenths;
    exponent = 52u - (uint32_t)__builtin_clzll(sixteenths);
    if (exponent > 15)
        return UINT16_MAX;
    return (uint16_t)(exponent << 12 | (sixteenths >> (exponent - 1) & 4095));
}

static inline uint64_t ledger_sixteenths(uint16_t when)
{
    uint32_t exponent = when >> 12;

    return exponent == 0 ? when : (uint64_t)(4096u | (when & 4095u)) << (exponent - 1);
}

/* The outermost parent of a chain says how the stack ended. */
enum site_end {
    SITE_END_COMPLETE = 0, /* reached main's or the thread's start, or _start */
    SITE_END_CUT = 1,      /* deeper than the limit kept */
    SITE_END_NO_INFO = 2,  /* a frame without unwind information (JIT, hand-written code) */
    SITE_END_NO_STACK = 3, /* no walk was possible: too little stack left, or inside the recorder */
    SITE_FIRST = 16,       /* the first real node */
};

/* All zero: an id that was given out and never used. */
struct site_node {
    uint64_t ip;     /* return address, or the exact pc in a signal frame, + 1 */
    uint32_t parent; /* the caller's node, or an enum site_end; always < this node's id */
    uint32_t module; /* index into modules, or MODULE_NONE */
};

#define MODULE_NONE   0xffffffffu
#define SITE_SEGMENTS 20u
#define SITE_SEGMENT_LOG                                                                                     \
    12u /* segment 0 holds 2^12 nodes, segment k > 0 holds 2^(11+k): ids are contiguous */

/* Segment 0 holds ids 0..4095; segment k >= 1 holds ids 2^(11+k) .. 2^(12+k)-1. */
static inline uint32_t site_segment_of(uint32_t id)
{
    return id < (1u << SITE_SEGMENT_LOG) ? 0u : 32u - (uint32_t)__builtin_clz(id) - SITE_SEGMENT_LOG;
}

static inline uint32_t site_segment_first(uint32_t segment)
{
    return segment == 0 ? 0u : 1u << (SITE_SEGMENT_LOG - 1u + segment);
}

#define MODULE_BUILD_ID_MAX 32u

struct module_entry {
    uint64_t start, end; /* mapped range */
    uint64_t bias;       /* load bias: file address = ip - bias */
    uint64_t path; /* address of a NUL-terminated string in the target; "" for the main program until known */
    uint32_t path_length;
    uint32_t generation; /* counts loads: two modules that shared a range differ in it */
    uint8_t build_id_length;
    uint8_t unloaded; /* 1: seen to be gone; names stay */
    uint8_t reserved[6];
    uint8_t build_id[MODULE_BUILD_ID_MAX];
};

/* What one thread did with blocks of a site: allocated there, or freed wherever. A thread that only frees has more frees
 * than allocations here; only sums over all threads are counts of blocks. */
struct site_tally {
    uint32_t site;    /* 0: unused */
    uint32_t tick_at; /* no reader's: the recorder looks at the clock when `allocations` comes to this */
    uint64_t allocations, frees;
    uint64_t bytes, freed_bytes; /* asked for */
    uint64_t temporary;          /* freed by the thread before it allocated again */
    uint64_t peak;               /* most of bytes - freed_bytes, by this thread's own calls */
    /* With sample=BYTES allocations, frees and temporary are estimates in 1/256, bytes are estimates, and this is the
     * estimated variance of bytes - freed_bytes. */
    double variance;
};
_Static_assert(sizeof(struct site_tally) == 64, "one line");
#define TALLY_PARTS 256u

/* Open addressing, at most half full, or 7/8 where a trace has no room for a larger one; where a site is looked for first
 * is its number's hash. */
struct tally_table {
    uint64_t capacity; /* of `tally`, a power of two. Constant */
    uint64_t reserved[7];
    struct site_tally tally[];
};

/* Of one thread, and those that had its place before it. All of it is written by the thread alone, in recorded calls. */
struct thread_tallies {
    /* Address of another one, or 0, which may become an address later (release): those that found no room in a trace
     * are the last. */
    uint64_t next;
    uint64_t
        table; /* address of its struct tally_table. A larger one holds all that the last one held (release) */
    uint64_t allocations; /* without a place in the table, since memory was out */
    uint64_t frees;
};

struct record_root {
    uint64_t magic;
    uint32_t version;
    uint32_t generation;                  /* of this process, see ledger_entry */
    uint32_t site_count;                  /* ids given out are below */
    uint32_t module_count;                /* modules below are complete (release store) */
    uint64_t site_segment[SITE_SEGMENTS]; /* addresses, 0 when not mapped yet */
    uint64_t modules;                     /* address of struct module_entry[module_capacity] */
    uint32_t module_capacity;
    uint32_t depth_limit;
    uint64_t allocations,
        frees;           /* events recorded by threads that have no tally. A reader adds the tallies */
    uint64_t tallies;    /* address of the newest struct thread_tallies; release store */
    uint64_t unrecorded; /* allocations made while the recorder was busy in the same thread */
    char unwinder[32];   /* which backend walks, for the report */
    uint64_t stack_checks, stack_mismatches; /* check_stacks=N */
    uint32_t check_stacks, reserved;
    uint64_t sample;   /* one in so many bytes is sampled, 0: every block is recorded */
    uint64_t began_ms; /* CLOCK_MONOTONIC: ledger_entry.when counts from here. A child's is its parent's */
};

/* What the program has said about its memory (preload/heaptally.h); wire_target.annotations points here, 0 when it
 * has said nothing.
 *
 *    struct annotation_table -> entries: [ROOT start end][NONE][IGNORE start end] ... count of them, holes included
 *
 * Entries are added at the end or into holes and taken out by making them holes (kind ANNOTATION_NONE or _BUSY:
 * skip). The array never moves; count only grows. */
#define ANNOTATION_MAGIC 0x3154544f4e415448ull /* "HTANOTT1" */

enum annotation_kind {
    ANNOTATION_NONE,   /* a hole */
    ANNOTATION_BUSY,   /* being filled in */
    ANNOTATION_ROOT,   /* every aligned word in start..end is a strict root */
    ANNOTATION_IGNORE, /* the block at start has no ledger entry to carry LEDGER_IGNORED; same meaning */
};

struct annotation {
    uint64_t start, end;
    uint32_t kind; /* enum annotation_kind */
    uint32_t reserved;
};

struct annotation_table {
    uint64_t magic;
    uint32_t version; /* RECORD_LAYOUT_VERSION */
    uint32_t count;   /* entries ever used */
    uint32_t capacity;
    uint32_t dropped; /* annotations that found no room */
    uint64_t entries; /* address of struct annotation[capacity] */
};

#endif
