/* SPDX-License-Identifier: MIT */
#include "tracer/record/tally.h"

#include <string.h>

#include "tracer/record/trace.h"

#define FIRST_CAPACITY_LOG 5u /* with the list's entry one page */
#define FIRST_CAPACITY     (1u << FIRST_CAPACITY_LOG)

static size_t table_size(uint64_t capacity)
{
    return sizeof(struct tally_table) + capacity * sizeof(struct site_tally);
}

/* The first table lies behind the list's entry. */
bool tally_start(struct tally *tally, uint64_t *version)
{
    unsigned char *made = trace_take(sizeof(struct site_tally) + table_size(FIRST_CAPACITY));

    if (!made)
        return false;
    *tally = (struct tally){
        .shared = (struct thread_tallies *)(void *)made,
        .table = (struct tally_table *)(void *)(made + sizeof(struct site_tally)),
        .shift = 32 - FIRST_CAPACITY_LOG,
        .version = version,
        .newest = tally,
    };
    tally->table->capacity = FIRST_CAPACITY;
    tally->shared->table = (uintptr_t)tally->table;
    return true;
}

/* The site's place, or the unused one where it would go. */
static struct site_tally *place_of(struct tally_table *table, uint32_t shift, uint32_t site)
{
    for (uint32_t at = site * 0x9e3779b1u >> shift;; at++) {
        struct site_tally *there = &table->tally[at & (table->capacity - 1)];

        if (there->site == site || there->site == 0)
            return there;
    }
}

static bool grow(struct tally *tally)
{
    struct tally_table *old = tally->table;
    struct tally_table *made = trace_take(table_size(old->capacity * 2));

    if (!made)
        return false;
    /* A reader of the trace would lose all figures of the thread, for the sake of one more site. */
    if (!trace_has(made) && trace_has(old)) {
        trace_give(made, table_size(old->capacity * 2));
        tally->full = true;
        return false;
    }
    made->capacity = old->capacity * 2;
    for (uint64_t i = 0; i < old->capacity; i++)
        if (old->tally[i].site != 0)
            *place_of(made, tally->shift - 1, old->tally[i].site) = old->tally[i];
    tally->table =
        made; /* first: a handler that leaves in between may find less, but nothing outside of it */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    tally->shift--;
    ++*tally->version;
    __atomic_store_n(&tally->shared->table, (uintptr_t)made, __ATOMIC_RELEASE);
    if (old->capacity != FIRST_CAPACITY)
        trace_give(old, table_size(old->capacity));
    return true;
}

/* Of a table that cannot grow: searches become longer, but they end. */
static uint64_t most_of(const struct tally_table *table)
{
    return table->capacity - table->capacity / 8;
}

struct site_tally *tally_find(struct tally *tally, uint32_t site)
{
    struct site_tally *place = place_of(tally->table, tally->shift, site);

    if (place->site == site)
        return place;
    if (tally->used >= tally->table->capacity / 2) {
        if ((tally->full || !grow(tally)) && tally->used >= most_of(tally->table))
            return NULL;
        place = place_of(tally->table, tally->shift, site);
    }
    tally->used++;
    __atomic_store_n(&place->site, site, __ATOMIC_RELEASE);
    return place;
}

void tally_forget(struct tally *tally)
{
    /* A copy of shared memory may be of two instants: what this process knows by itself is right. */
    tally->table->capacity = (uint64_t)1 << (32 - tally->shift);
    tally->shared->table = (uintptr_t)tally->table;
    tally->shared->allocations = tally->shared->frees = 0;
    memset(tally->table->tally, 0, tally->table->capacity * sizeof(tally->table->tally[0]));
    tally->used = 0;
    tally->full = false;
    tally->newest = tally;
}

static void add_variance(struct site_tally *of, double more)
{
    double sum = of->variance + more;

    __atomic_store(&of->variance, &sum, __ATOMIC_RELAXED);
}

void tally_sampled(struct tally *tally, uint32_t site, const void *p, const struct sample_weight *weight,
                   bool freed)
{
    struct site_tally *of = tally_of(tally, site);

    if (!of)
        return;
    add_variance(of, freed ? -weight->variance : weight->variance);
    if (!freed) {
        tally->newest = p;
        tally_add(&of->bytes, weight->bytes);
        tally_add(&of->allocations, weight->blocks);
        if ((int64_t)(of->bytes - of->freed_bytes) > (int64_t)of->peak)
            __atomic_store_n(&of->peak, of->bytes - of->freed_bytes, __ATOMIC_RELAXED);
        return;
    }
    tally_add(&of->freed_bytes, weight->bytes);
    tally_add(&of->frees, weight->blocks);
    if (tally->newest == p) {
        tally->newest = tally;
        tally_add(&of->temporary, weight->blocks);
    }
}
