/* SPDX-License-Identifier: MIT */
/*
 * The annotation API: root regions go into a table, ignored blocks get a flag in their ledger entry.
 *
 * The table is mapped whole at the first annotation (the kernel gives pages as they are written), so it never
 * moves and a frozen reader needs one address. Appending is lock-free: an entry is claimed by a
 * compare-and-swap of its kind, filled, and then published by its kind.
 */
#include "preload/face.h"

#include "allocator/platform.h"
#include "preload/heaptally.h"
#include "preload/thread.h"

#define CAPACITY 32768u

/* Any thread, by the operations below. */
static struct annotation_table table = {.magic = ANNOTATION_MAGIC, .version = RECORD_LAYOUT_VERSION};

uint64_t annotations_address(void)
{
    return __atomic_load_n(&table.count, __ATOMIC_ACQUIRE) ? (uint64_t)(uintptr_t)&table : 0;
}

static struct annotation *table_entries(void)
{
    uint64_t at = __atomic_load_n(&table.entries, __ATOMIC_ACQUIRE);
    if (at)
        return (struct annotation *)(uintptr_t)at;
    const size_t bytes =
        (CAPACITY * sizeof(struct annotation) + PLATFORM_PAGE - 1) & ~(size_t)(PLATFORM_PAGE - 1);
    void *fresh = platform_map_metadata(bytes);
    if (!fresh)
        return NULL;
    table.capacity = CAPACITY; /* the same value from every thread, and before the entries are seen */
    if (__atomic_compare_exchange_n(&table.entries, &at, (uint64_t)(uintptr_t)fresh, false, __ATOMIC_RELEASE,
                                    __ATOMIC_ACQUIRE))
        return fresh;
    return (struct annotation *)(uintptr_t)
        at; /* another thread was first; `fresh` stays untouched address space */
}

static void table_raise_count(uint32_t count)
{
    uint32_t seen = __atomic_load_n(&table.count, __ATOMIC_RELAXED);
    while (seen < count &&
           !__atomic_compare_exchange_n(&table.count, &seen, count, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
}

static void table_add(uint64_t start, uint64_t end, enum annotation_kind kind)
{
    struct annotation *entries = table_entries();
    for (uint32_t i = 0; entries && i < CAPACITY; i++) {
        uint32_t none = ANNOTATION_NONE;
        if (!__atomic_compare_exchange_n(&entries[i].kind, &none, ANNOTATION_BUSY, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
            continue;
        entries[i].start = start;
        entries[i].end = end;
        __atomic_store_n(&entries[i].kind, kind, __ATOMIC_RELEASE);
        table_raise_count(i + 1);
        return;
    }
    __atomic_add_fetch(&table.dropped, 1, __ATOMIC_RELAXED);
}

static void table_remove(uint64_t start, uint64_t end, enum annotation_kind kind)
{
    struct annotation *entries = table_entries();
    uint32_t count = __atomic_load_n(&table.count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; entries && i < count; i++) {
        /* Racy by nature: whoever registers and unregisters one region in two threads gets one or the other.
         */
        if (__atomic_load_n(&entries[i].kind, __ATOMIC_ACQUIRE) == kind && entries[i].start == start &&
            entries[i].end == end) {
            __atomic_store_n(&entries[i].kind, ANNOTATION_NONE, __ATOMIC_RELEASE);
            return;
        }
    }
}

/* --- the surface --------------------------------------------------------------------------------- */

EXPORT void __lsan_ignore_object(const void *p)
{
    struct alloc_block block = {0};
    thread_enter();
    enum alloc_status status = alloc_find(p, &block);
    if (status == ALLOC_OK || status == ALLOC_INTERIOR) {
        struct ledger_entry *entry = block.ledger;
        if (entry && entry->state != LEDGER_FREED) /* a freed one has no flags, and is no leak */
            entry->flags |= LEDGER_IGNORED;
        else if (!entry)
            table_add((uintptr_t)block.start, (uintptr_t)block.start + block.capacity, ANNOTATION_IGNORE);
    }
    thread_leave();
}

EXPORT void __lsan_register_root_region(const void *p, size_t size)
{
    thread_enter();
    table_add((uintptr_t)p, (uintptr_t)p + size, ANNOTATION_ROOT);
    thread_leave();
}

EXPORT void __lsan_unregister_root_region(const void *p, size_t size)
{
    thread_enter();
    table_remove((uintptr_t)p, (uintptr_t)p + size, ANNOTATION_ROOT);
    thread_leave();
}

EXPORT void __lsan_disable(void)
{
    thread_flags.ignore_depth++;
}

EXPORT void __lsan_enable(void)
{
    if (thread_flags.ignore_depth)
        thread_flags.ignore_depth--;
}

EXPORT void __lsan_do_leak_check(void)
{
}

EXPORT int __lsan_do_recoverable_leak_check(void)
{
    return 0;
}
