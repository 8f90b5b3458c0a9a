/* SPDX-License-Identifier: MIT */
/*
 * sites.h - the tree of stacks: nodes (ip, parent, module), each once; a stack is its innermost frame's node.
 *
 *     main --.                       node: in segments that never move (tables.h)
 *             '- parse --.           path: a 64-bit hash of a frame and all outer ones
 *                         '- node 17 <- ledger entries of the blocks this stack allocated
 *
 *     path --> newest index: | path, id, turn | ... |  --> older index --> oldest    open addressing, half full at most
 *
 * Two paths of n different stacks are the same by a chance of n^2 / 2^64: 80,000 stacks, one in three thousand million.
 * So a stack that was seen before costs one look-up, by its path, and no node is touched.
 *
 * Threads: no locks but for making a larger index. A node is filled before its id is seen by anyone. A free slot gets path
 * and id in one exchange of 16 bytes; of threads that meet a stack at once the first one's node stands, and the others' are
 * never used. An index that is half full gets a successor of twice the size, and who made that moves everything there. So
 * that no two threads give one path two ids meanwhile, one in the old index and one in the new one, whoever inserts into the
 * newest first seals the slot in the older one where another thread would insert: that one finds the seal, and begins again.
 * (Path first and id later would not do: who meets a path whose id was found in an older index, and is about to be put here,
 * would make a second one.)
 *
 * A frame is told by its ip, so when a module goes and another takes its addresses, the paths through it lead to stacks
 * that are not there any more. Then a new turn begins (sites_forget), and nothing else is done. What was found in this turn
 * counts at once. Of what was found in an earlier one the frames' modules are looked at first, and an id of a stack with one
 * that has gone is exchanged, as the first was put there, for that of a new node:
 *
 *     forget:  mark the module ... next turn ... next epoch (modules.h)
 *     find:    read the turn, read the slot: its turn is that one? the id   no module of it is marked? the id, and the turn
 *
 * Who read the turn before it changed may get an old id, and captures again, since the epoch has changed, too. A new id begins
 * with the first turn, since nobody knows whether a module of it went while it was made. Old stacks keep their nodes.
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
    /* By any thread, by compare and swap: both at once when it is claimed, each by itself later; the values that mean
     * something else are in sites.c. */
    _Alignas(16) uint64_t path;
    uint64_t found; /* an id, and its turn above it */
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
/* How often a module has been replaced, from 1 on. Under the modules' lock, release. */
extern uint32_t sites_turn __attribute__((visibility("hidden")));

bool sites_start(struct record_root *root);
/* 0: not known, or not any more. */
uint32_t sites_look_up(uint64_t path);
/* The node's id, made when new; SITE_END_NO_STACK when memory is out (the parent is then lost with it). `path` is that of
 * the frame: sites_path(path of parent, ip). */
uint32_t sites_find(uint64_t path, uint64_t ip, uint32_t parent, uint32_t module);
/* No stack through a module that is marked unloaded is found any more. Under the modules' lock. */
void sites_forget(void);
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
        uint64_t found = __atomic_load_n(&slot->found, __ATOMIC_ACQUIRE);

        if (__builtin_expect(found >> 32 == __atomic_load_n(&sites_turn, __ATOMIC_RELAXED), 1))
            return (uint32_t)found;
    }
    return sites_look_up(path);
}

#endif
