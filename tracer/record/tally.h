/* SPDX-License-Identifier: MIT */
/*
 * tally.h - what a thread's calls did, by site: struct site_tally of tables.h, counted up where it is read.
 *
 *     tally.table --> | site 17: 3 allocations, ... |      | site 98: ... |        hash of the site, then the next
 *
 * Threads: one writer, the thread; anybody reads, any time: each word is whole, and at rest all of them agree. A table
 * that becomes half full is copied to one of twice the size before that is published, unless a trace has no room for it; the
 * old one becomes empty memory. Who has read a capacity of 0, or the address of another table since, looks again.
 */
#ifndef HEAPTALLY_TALLY_H
#define HEAPTALLY_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/tables.h"
#include "tracer/record/sample.h"

struct tally {
    struct thread_tallies *shared;
    struct tally_table *table;
    uint32_t shift; /* of a site's 32-bit hash */
    uint32_t used;
    bool full; /* the trace has no room for a larger table */
    const void
        *newest; /* the block that the thread allocated last, not freed since; or the tally's own address */
    uint64_t *version; /* counted up when the table moves: for who keeps addresses in it */
};

/* false: no memory. */
bool tally_start(struct tally *tally, uint64_t *version);
struct site_tally *tally_find(struct tally *tally, uint32_t site);
void tally_forget(struct tally *tally); /* all that was counted */

static inline void tally_add(uint64_t *word, uint64_t more)
{
    __atomic_store_n(word, *word + more, __ATOMIC_RELAXED);
}

/* Where the site's tally is, most of the time: whose it is has to be looked at. */
static inline struct site_tally *tally_place(const struct tally *tally, uint32_t site)
{
    return &tally->table->tally[site * 0x9e3779b1u >> tally->shift];
}

/* A tally of the table that is in use: of an older one nobody counts any more. */
static inline bool tally_is_there(const struct tally *tally, const struct site_tally *of)
{
    return (uintptr_t)of - (uintptr_t)tally->table->tally < sizeof(*of) << (32 - tally->shift);
}

/* NULL: there is no memory for it. */
static inline struct site_tally *tally_of(struct tally *tally, uint32_t site)
{
    struct site_tally *first = tally_place(tally, site);

    return __builtin_expect(first->site == site, 1) ? first : tally_find(tally, site);
}

/* A sampled block, with the weight that it has. */
void tally_sampled(struct tally *tally, uint32_t site, const void *p, const struct sample_weight *weight,
                   bool freed);

/* After a look at the clock, which had moved since the last one, or not. Where it has, the process allocates so seldom that
 * every block has a time of its own. Where not, a site that has few blocks is still looked after; of one that has many it is
 * one in TALLY_TICKS, so that a block's time is no older than the last TALLY_TICKS - 1 allocations of its site. */
#define TALLY_TICKS 32u
static inline void tally_ticked(struct site_tally *of, bool moved)
{
    uint64_t some = of->allocations / 8;

    if (moved)
        some = 0;
    else if (some > TALLY_TICKS - 1)
        some = TALLY_TICKS - 1;
    of->tick_at = (uint32_t)(of->allocations + 1 + some);
}

/* `of` is the site's. true: a look at the clock is due. */
static inline bool tally_allocated_here(struct tally *tally, struct site_tally *of, const void *p,
                                        size_t size)
{
    tally->newest = p;
    uint64_t bytes = of->bytes + size;
    __atomic_store_n(&of->bytes, bytes, __ATOMIC_RELAXED);
    if ((int64_t)(bytes - of->freed_bytes) > (int64_t)of->peak)
        __atomic_store_n(&of->peak, bytes - of->freed_bytes, __ATOMIC_RELAXED);
    uint64_t allocations = of->allocations + 1;
    __atomic_store_n(&of->allocations, allocations, __ATOMIC_RELAXED);
    return (int32_t)((uint32_t)allocations - of->tick_at) >= 0;
}

static inline void tally_allocated(struct tally *tally, uint32_t site, const void *p, size_t size)
{
    struct site_tally *of = tally_of(tally, site);

    if (__builtin_expect(of != NULL, 1)) {
        (void)tally_allocated_here(tally, of, p, size); /* who comes here has looked */
        return;
    }
    tally->newest = p;
    tally_add(&tally->shared->allocations, 1);
}

static inline void tally_freed_here(struct tally *tally, struct site_tally *of, const void *p, size_t size)
{
    tally_add(&of->freed_bytes, size);
    tally_add(&of->frees, 1);
    if (tally->newest == p) {
        tally->newest = tally;
        tally_add(&of->temporary, 1);
    }
}

static inline void tally_freed(struct tally *tally, uint32_t site, const void *p, size_t size, bool uncounted)
{
    struct site_tally *of = __builtin_expect(uncounted, 0) ? NULL : tally_of(tally, site);

    if (__builtin_expect(!of, 0)) {
        tally_add(&tally->shared->frees, 1);
        return;
    }
    tally_freed_here(tally, of, p, size);
}

#endif
