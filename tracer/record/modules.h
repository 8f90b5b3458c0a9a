/* SPDX-License-Identifier: MIT */
/*
 * modules.h - the list of loaded objects that stacks go through, and how an address finds its entry.
 *
 *    ip --> code_find (wait-free) --> cache (per context, by range) --> entry number
 *                                            | miss, or modules changed since
 *                                            v
 *                                      under the lock: same range, name and build id still loaded? its entry
 *                                      otherwise: older entries in that range are marked unloaded, a new one
 * is appended. Only those not marked so far are looked at: a list leads through them.
 *
 * An entry, once published, keeps its range, name and build id for ever; `unloaded` is the only field that
 * changes, and only to 1. An object that came back at the same place with the same build id is the same
 * module.
 *
 * What is cached of code is good for one epoch. dlclose begins another one, but late: its thread may be stopped between the
 * loader's lock and the mark, and another thread's dlopen have mapped other code at that place meanwhile. So dlopen begins
 * one twice: when it is called, and at the first capture after that, which is of the loader's own allocations, before it maps
 * anything:
 *
 *     closes:  unmap, unlock ............................. mark
 *     opens:   mark   lock, allocate: mark, map, run what is new there
 *
 * Threads: entries are appended under the lock and published by a release store of module_count; readers of
 * entries need none.
 */
#ifndef HEAPTALLY_MODULES_H
#define HEAPTALLY_MODULES_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/format/tables.h"
#include "tracer/record/code.h"

#define MODULE_CACHE_LOG 6u

struct module_cache_line {
    const void *link_map;
    uint64_t start, end;
    uint32_t module;
    uint32_t epoch; /* modules_epoch() when it was looked up */
};

/* One a context; zero is empty. Written by the context's own thread only. */
struct module_cache {
    struct module_cache_line lines[1u << MODULE_CACHE_LOG];
};

bool modules_start(struct record_root *root);
/* The entry of a loaded object; MODULE_NONE when the table cannot grow. */
uint32_t modules_find(struct module_cache *cache, const struct code_object *object);
/* Something may have been unloaded: cached answers are looked up again. */
void modules_changed(void);
/* modules_changed(), if other objects of the list are not loaded any more than the last time. */
void modules_may_be_gone(void);
/* The calling thread is about to ask the loader for a library, and will allocate next when it has the loader's lock. */
void modules_opening(void);
/* It has found out that something may have changed: if that is why, something may have once more. */
void modules_opened(void);
/* Any thread, atomic add; a stale read only delays a look-up to the next capture, whose frames cannot be in code that
 * dlclose was still running in. */
extern uint32_t *modules_epoch_now __attribute__((visibility("hidden")));
static inline uint32_t modules_epoch(void)
{
    return __atomic_load_n(modules_epoch_now, __ATOMIC_ACQUIRE);
}
/* It lies in memory that is empty in a forked child, however it was forked: 0 is no epoch. In a child that ran its
 * handlers, and in one that did not and found that out, it begins again. */
void modules_restore_epoch(void);
bool modules_lock_is_mine(void); /* by this very thread */
void modules_fork_child(void);

#endif
