/* SPDX-License-Identifier: MIT */
/*
 * sites.h - the tree of stacks: nodes (ip, parent, module), each once; a stack is its innermost frame's node.
 *
 *     main --.                       node: in segments that never move (tables.h)
 *             '- parse --.           path: a 64-bit hash of a frame and all outer ones
 *                         '- node 17 <- ledger entries of the blocks this stack allocated
 *
 *     path --> newest index: | path, id | ... |  --> older index --> oldest      open addressing, half full at most
 *
 * Two paths of n different stacks are the same by a chance of n^2 / 2^64: 80,000 stacks, one in three thousand million.
 * So a stack that was seen before costs one look-up, by its path, and no node is touched.
 *
 * Threads: no locks but for making a larger index. A node is filled before its id is seen by anyone. A slot is claimed by
 * its path (compare and swap) and then gets its id (likewise): whoever finds a path without an id makes a node
 * itself, and the first one stands; the others are never used. An index that is half full gets a successor of twice the
 * size, and who made that moves everything there. So that no two threads give one path two ids meanwhile, one in the old
 * index and one in the new one, whoever inserts into the newest first seals the slot in the older one where another thread
 * would insert: that one finds the seal, and begins again.
 *
 * A frame is told by its ip, so when a module goes and another takes its addresses, the paths through it are forgotten
 * (sites_forget). Old stacks keep their nodes.
 */
#ifndef HEAPTALLY_SITES_H
#define HEAPTALLY_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/tables.h"

/* The path of no frame, whose stack ended so; of a frame whose callers' path is `outer`. */
static inline uint64_t sites_path_of_end(enum site_end end)
{
    return 0x8d3f7b1a92c4e650u + end;
}

#define PATH_LEAST 4u /* smaller ones mean something else */

static inline uint64_t sites_path(uint64_t outer, uint64_t ip)
{
    uint64_t mixed = (outer ^ ip) * 0x9e3779b97f4a7c15u;

    return (mixed ^ mixed >> 32) | PATH_LEAST;
}

struct site_slot {
    uint64_t path; /* or PATH_* (sites.c). Any thread, by compare and swap from PATH_FREE; sites_forget() */
    uint32_t id;   /* 0: soon. Any thread, by compare and swap from 0 */
    uint32_t reserved;
};

struct site_index {
    struct site_index *older; /* what may be there and not here yet. Under the growing lock, release */
    uint64_t shift;           /* constant: path >> shift is where it is looked for first */
    uint64_t mask;            /* constant: slots - 1 */
    uint64_t used;            /* any thread, by addition */
    struct site_slot slots[];
};
/* Never NULL after sites_start(). Under the growing lock, release. */
extern struct site_index *sites_newest __attribute__((visibility("hidden")));

bool sites_start(struct record_root *root);
/* 0: not known. */
uint32_t sites_look_up(uint64_t path);
/* The node's id, made when new; SITE_END_NO_STACK when memory is out (the parent is then lost with it). `path` is that of
 * the frame: sites_path(path of parent, ip). */
uint32_t sites_find(uint64_t path, uint64_t ip, uint32_t parent, uint32_t module);
/* No stack through a module that is marked unloaded is found any more. Under the modules' lock. */
void sites_forget(const struct module_entry *modules, uint32_t count);
/* NULL for ids that are no node. */
const struct site_node *sites_node(uint32_t id);
bool sites_lock_is_mine(void); /* by this very thread */
void sites_fork_child(void);

/* It will be asked for soon: most of the time that takes is waiting for memory. */
static inline void sites_prefetch(uint64_t path)
{
    const struct site_index *index = __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE);

    __builtin_prefetch(&index->slots[path >> index->shift]);
}

static inline uint32_t sites_known(uint64_t path)
{
    const struct site_index *index = __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE);
    const struct site_slot *slot = &index->slots[path >> index->shift];

    if (__builtin_expect(__atomic_load_n(&slot->path, __ATOMIC_RELAXED) == path, 1)) {
        uint32_t id = __atomic_load_n(&slot->id, __ATOMIC_ACQUIRE);

        if (__builtin_expect(id != 0, 1))
            return id;
    }
    return sites_look_up(path);
}

#endif
