/* SPDX-License-Identifier: MIT */
/* freed.c - see freed.h. */
#include "preload/freed.h"

#include "allocator/allocator.h"
#include "allocator/platform.h"
#include "tracer/format/tables.h"

#define FEW_LOG  8u
#define MANY_LOG 13u

/* Fields are read while they are written: relaxed, and believed only when `turn` says so. */
struct entry {
    uint32_t turn;
    uint32_t site, free_site;
    uint64_t address; /* complemented: a scanner that comes across it must not take it for a reference */
    uint64_t size;
};

static struct entry few[1u << FEW_LOG];
static struct entry *many; /* any thread reads; written once, released when it is zeroed memory */

static struct entry *entry_of(const void *p)
{
    uint64_t hash = ((uint64_t)(uintptr_t)p >> 4) * 0x9e3779b97f4a7c15ull;
    struct entry *all = __atomic_load_n(&many, __ATOMIC_ACQUIRE);
    return all ? &all[hash >> (64 - MANY_LOG)] : &few[hash >> (64 - FEW_LOG)];
}

static void note_entries(const struct alloc_ledger *ledger)
{
    const struct ledger_entry *entry = (const struct ledger_entry *)(const void *)ledger->entries;
    const unsigned char *p = ledger->first;

    for (uint32_t i = 0; i < ledger->count; i++, entry++, p += ledger->block_size)
        if (entry->state == LEDGER_FREED)
            freed_note(p, &(struct freed_block){ledger_size(entry), entry->site, entry->free_site});
}

void freed_keep_all(void)
{
    if (__atomic_load_n(&many, __ATOMIC_RELAXED))
        return;
    /* Metadata memory: known to be the library's own, so never scanned. Without it the few entries do. */
    alloc_on_ledger_gone(note_entries);
    __atomic_store_n(&many, platform_map_metadata(sizeof(struct entry) << MANY_LOG), __ATOMIC_RELEASE);
}

void freed_note(const void *p, const struct freed_block *block)
{
    struct entry *entry = entry_of(p);
    uint32_t turn = __atomic_load_n(&entry->turn, __ATOMIC_RELAXED);
    if ((turn & 1) != 0 || !__atomic_compare_exchange_n(&entry->turn, &turn, turn + 1, false,
                                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    /* No field is seen before the odd turn is. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&entry->address, ~(uint64_t)(uintptr_t)p, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->size, block->size, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->site, block->site, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->free_site, block->free_site, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->turn, turn + 2, __ATOMIC_RELEASE);
}

bool freed_find(const void *p, struct freed_block *ret)
{
    const struct entry *entry = entry_of(p);
    uint32_t turn = __atomic_load_n(&entry->turn, __ATOMIC_ACQUIRE);
    uint64_t address = __atomic_load_n(&entry->address, __ATOMIC_RELAXED);
    struct freed_block block = {
        .size = __atomic_load_n(&entry->size, __ATOMIC_RELAXED),
        .site = __atomic_load_n(&entry->site, __ATOMIC_RELAXED),
        .free_site = __atomic_load_n(&entry->free_site, __ATOMIC_RELAXED),
    };
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((turn & 1) != 0 || turn != __atomic_load_n(&entry->turn, __ATOMIC_RELAXED) ||
        address != ~(uint64_t)(uintptr_t)p)
        return false;
    *ret = block;
    return true;
}
