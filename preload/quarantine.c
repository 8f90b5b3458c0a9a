/* SPDX-License-Identifier: MIT */
/* quarantine.c - see quarantine.h. */
#include "preload/quarantine.h"

#include "allocator/platform.h"

#define PLACES 16384u

/* Complemented addresses, 0 for none. Any thread, by exchange. */
static uint64_t *place;
static uint64_t head, tail; /* any thread, by the operations below */
static uint64_t bytes;      /* that wait; any thread, by addition */
static uint64_t limit;      /* constant after start */
static quarantine_leave *leave_block;

bool quarantine_start(uint64_t most, quarantine_leave *leave)
{
    limit = most;
    leave_block = leave;
    place = most ? platform_map_metadata(PLACES * sizeof(*place)) : NULL;
    return place != NULL;
}

bool quarantine_takes(size_t capacity)
{
    return place && capacity <= limit / 2;
}

static bool let_go(uint64_t word)
{
    if (word != 0)
        leave_block((void *)(uintptr_t)~word);
    return word != 0;
}

/* The oldest place that holds something is emptied; false: none. */
static bool take_oldest(void)
{
    uint64_t at = __atomic_load_n(&tail, __ATOMIC_RELAXED);
    for (;;) {
        uint64_t end = __atomic_load_n(&head, __ATOMIC_RELAXED);
        uint64_t first = end - at > PLACES ? end - PLACES : at;
        if (first >= end)
            return false;
        if (!__atomic_compare_exchange_n(&tail, &at, first + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            continue;
        if (let_go(__atomic_exchange_n(&place[first % PLACES], 0, __ATOMIC_ACQ_REL)))
            return true;
        at = first + 1;
    }
}

void quarantine_put(void *block, size_t capacity)
{
    uint64_t number = __atomic_fetch_add(&head, 1, __ATOMIC_RELAXED);
    uint64_t word = ~(uint64_t)(uintptr_t)block;
    __atomic_fetch_add(&bytes, capacity, __ATOMIC_RELAXED);
    let_go(__atomic_exchange_n(&place[number % PLACES], word, __ATOMIC_ACQ_REL));
    while (__atomic_load_n(&bytes, __ATOMIC_RELAXED) > limit && take_oldest())
        ;
}

void quarantine_uncount(size_t capacity)
{
    __atomic_fetch_sub(&bytes, capacity, __ATOMIC_RELAXED);
}

bool quarantine_empty(size_t wanted)
{
    bool any = false;
    if (!place || wanted > __atomic_load_n(&bytes, __ATOMIC_RELAXED))
        return false;
    while (take_oldest())
        any = true;
    return any;
}

void quarantine_each(void (*look)(void *block))
{
    for (unsigned i = 0; place && i < PLACES; i++) {
        /* Out of the ring: no other thread lets go of what we look at. */
        uint64_t word = __atomic_exchange_n(&place[i], 0, __ATOMIC_ACQ_REL);
        if (word != 0)
            look((void *)(uintptr_t)~word);
    }
}
