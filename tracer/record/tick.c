/* SPDX-License-Identifier: MIT */
/*
 * The time in record_hot.entry_word. It only goes on: a thread that was held up between its look at the clock and the store
 * must not put back what another has stored since.
 */
#include "allocator/platform.h"
#include "tracer/record/hot.h"

/* The latest time that entry_word has, in full: its code is coarser. Any thread; stored after entry_word, so that who finds it
 * here finds it there. */
static uint64_t ticked;

static uint64_t now(void)
{
    uint64_t ms = platform_now_ms(), began = record_hot.root->began_ms;

    return ms > began ? (ms - began) * LEDGER_WHEN_PER_S / 1000 : 0;
}

bool record_tick(void)
{
    uint64_t sixteenths = now();

    if (__builtin_expect(sixteenths <= __atomic_load_n(&ticked, __ATOMIC_ACQUIRE), 1))
        return false;
    uint64_t code = ledger_when(sixteenths);
    uint64_t word = __atomic_load_n(&record_hot.entry_word, __ATOMIC_RELAXED);
    while (code > word >> ENTRY_WHEN_SHIFT &&
           !__atomic_compare_exchange_n(&record_hot.entry_word, &word,
                                        (word & ((1ull << ENTRY_WHEN_SHIFT) - 1)) | code << ENTRY_WHEN_SHIFT,
                                        true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    __atomic_store_n(&ticked, sixteenths, __ATOMIC_RELEASE);
    return true;
}

void record_tick_due(struct site_tally *of, void *entry)
{
    tally_ticked(of, record_tick());
    ((struct ledger_entry *)entry)->when =
        (uint16_t)(__atomic_load_n(&record_hot.entry_word, __ATOMIC_RELAXED) >> ENTRY_WHEN_SHIFT);
}
