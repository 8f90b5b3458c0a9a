/* SPDX-License-Identifier: MIT */
/*
 * The last look of harden=1, when the process ends by exit or by returning from main: the poison of every block in
 * quarantine, the canary of every live one.
 *
 * Live blocks are found by asking the allocator what is where, block by block, through every region that ever held one. A
 * thread that goes on meanwhile may unmap what is looked at, so that part is left out unless this thread is the last.
 * After _exit, a signal or exec nothing is looked at.
 */
#include <sys/single_threaded.h>

#include "preload/face.h"
#include "preload/harden.h"
#include "preload/misuse.h"
#include "preload/preload.h"
#include "preload/quarantine.h"
#include "preload/tasks.h"
#include "preload/thread.h"

#define REGION_LOG 22
#define SLOT       ((uintptr_t)16384)

static void look_at_waiting(void *p)
{
    struct alloc_block block = {0};
    if (alloc_find(p, &block) != ALLOC_OK)
        return;
    const unsigned char *damage = harden_poison_damage(&block, block.ledger);
    if (damage)
        misuse_written(&block, block.ledger, damage);
}

static void look_at_live(const struct alloc_block *block)
{
    const struct ledger_entry *entry = block->ledger;
    if (!entry || entry->state != LEDGER_LIVE)
        return;
    const unsigned char *damage = harden_canary_damage(block, entry);
    if (damage)
        misuse_overflow(block, entry, damage, "exit");
}

/* From block to block; where there is none, to the next place where one can begin. */
static void look_through(uint32_t number)
{
    uintptr_t at = (uintptr_t)number << REGION_LOG, end = at + ((uintptr_t)1 << REGION_LOG);
    while (at < end) {
        struct alloc_block block = {0};
        enum alloc_status status = alloc_find((const void *)at, &block);
        uintptr_t next = (at | (SLOT - 1)) + 1;
        if (status == ALLOC_FOREIGN)
            return;
        if (status == ALLOC_OK)
            look_at_live(&block);
        if (block.start && (uintptr_t)block.start + block.capacity > at)
            next = (uintptr_t)block.start + block.capacity;
        at = next;
    }
}

static void count_task(void *ctx, int tid)
{
    (void)tid;
    ++*(unsigned *)ctx;
}

/* Weak: another C library's programs would not start for want of it (start.c). */
#pragma weak __libc_single_threaded

static bool is_last_thread(void)
{
    unsigned threads = 0;
    return (&__libc_single_threaded != NULL && __libc_single_threaded) ||
           (tasks_list(count_task, &threads) && threads == 1);
}

__attribute__((destructor)) static void sweep(void)
{
    uint32_t numbers[256];
    size_t from = 0, count;
    if (!face_state.hardened || settings_get()->misuse == MISUSE_IGNORE)
        return;
    thread_enter();
    quarantine_each(look_at_waiting);
    while (is_last_thread() && (count = harden_regions(numbers, from, 256)) > 0) {
        for (size_t i = 0; i < count; i++) {
            if (numbers[i])
                look_through(numbers[i]);
        }
        from += count;
    }
    thread_leave();
}
