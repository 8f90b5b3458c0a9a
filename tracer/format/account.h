/* SPDX-License-Identifier: MIT */
/*
 * account.h - the page that a counting process (setting account=PATH) shares with the companion.
 *
 *      companion                                   target (preload/account.c)
 *      ---------                                   ------
 *      makes the file, writes magic .. pid ------> maps it, when `pid` is its own; writes root, images + 1
 *      reads live_bytes whenever it likes <------- adds and subtracts sizes as asked for, relaxed, from any thread
 *      writes `trigger` -------------------------> live_bytes has reached it: event = RUNS -> LOOK, wake, wait
 *      looks at the heap (allocator/walk.h) at
 *      `root`, sets a new trigger, event = RUNS -> goes on
 *                                                  its last destructor: event = RUNS -> END, wake, wait
 *
 * One page for one process: `pid` says which, so that a child that inherits the setting through exec leaves it alone; a
 * forked child counts on a page of its own that nobody sees. An image that exec brings into the process begins again
 * at zero and adds one to `images`.
 *
 * A thread that waits for an answer goes on by itself when the companion has gone (looked for once a second), or after
 * ACCOUNT_PATIENCE_MS, and then nobody asks again. Until then nothing moves: a walk of a large heap takes its time.
 *
 * Threads: the counters are added to with relaxed atomics, so each is exact, and two of them read together are of
 * nearly the same moment. peak_bytes is exact too: additions to one word have one order, each sees its own sum.
 */
#ifndef HEAPTALLY_ACCOUNT_H
#define HEAPTALLY_ACCOUNT_H

#include <stdint.h>

#define ACCOUNT_MAGIC       0x3154434341544148ull /* "HATACCT1" */
#define ACCOUNT_VERSION     1u
#define ACCOUNT_PATIENCE_MS 300000u

enum account_event {
    ACCOUNT_RUNS,
    ACCOUNT_LOOK, /* a thread has reached `trigger` and waits */
    ACCOUNT_END,  /* the process is at its end and waits */
};

/* Buckets of capacities: exact up to 1 KiB in steps of 16, then 8 for each doubling up to 2 MiB, then one. */
#define ACCOUNT_EXACT_MAX 1024u
#define ACCOUNT_EXACT     (ACCOUNT_EXACT_MAX / 16)
#define ACCOUNT_STEPS     8u
#define ACCOUNT_DOUBLINGS 11u
#define ACCOUNT_LAST      (ACCOUNT_EXACT + ACCOUNT_STEPS * ACCOUNT_DOUBLINGS)
#define ACCOUNT_BUCKETS   (ACCOUNT_LAST + 1)

static inline unsigned account_bucket(uint64_t capacity)
{
    if (capacity <= ACCOUNT_EXACT_MAX)
        return capacity == 0 ? 0 : (unsigned)((capacity - 1) / 16);
    unsigned log = 63u - (unsigned)__builtin_clzll(capacity - 1); /* of the doubling that it lies in */
    if (log >= 10 + ACCOUNT_DOUBLINGS)
        return ACCOUNT_LAST;
    unsigned step = (unsigned)((capacity - 1) >> (log - 3) & (ACCOUNT_STEPS - 1));
    return ACCOUNT_EXACT + (log - 10) * ACCOUNT_STEPS + step;
}

/* The largest capacity of a bucket; UINT64_MAX for the last. */
static inline uint64_t account_bucket_end(unsigned bucket)
{
    if (bucket < ACCOUNT_EXACT)
        return (uint64_t)(bucket + 1) * 16;
    if (bucket >= ACCOUNT_LAST)
        return UINT64_MAX;
    unsigned log = 10 + (bucket - ACCOUNT_EXACT) / ACCOUNT_STEPS,
             step = (bucket - ACCOUNT_EXACT) % ACCOUNT_STEPS;
    return ((uint64_t)1 << log) + ((uint64_t)(step + 1) << (log - 3));
}

struct account_bucket {
    uint64_t bytes, blocks; /* live, as asked for. Any thread of the target */
};

struct account_page {
    uint64_t magic;
    uint32_t version, size; /* of this struct. Companion, before the target runs */
    uint64_t pid;           /* who counts here. Companion, before the target runs */
    uint64_t companion;     /* its process id. Companion, before the target runs */
    uint64_t first_trigger; /* with which every image begins. Companion, before the target runs */

    uint64_t root;   /* address of its struct alloc_root. Target, at its start */
    uint32_t images; /* programs that have begun to count in this process. Target, at their start */

    uint32_t event;   /* enum account_event, and the futex of both sides */
    uint64_t trigger; /* live_bytes at which a thread stands still. Companion; target, out of patience */

    /* Any thread of the target: */
    uint64_t live_bytes, live_blocks;
    uint64_t peak_bytes;  /* the most live_bytes ever were */
    uint64_t peak_blocks; /* live_blocks then, to within what other threads do meanwhile */
    uint64_t allocations, frees;
    uint64_t asked_bytes; /* of all allocations together */
    uint64_t unknown;     /* blocks freed or resized that were never counted */
    struct account_bucket bucket[ACCOUNT_BUCKETS];
};

#endif
