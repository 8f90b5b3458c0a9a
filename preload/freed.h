/* SPDX-License-Identifier: MIT */
/*
 * freed.h - what was freed lately, so that a second free is called by its name when the memory is long gone.
 *
 *   address --hash--> [turn | address | size | site | free site]      one entry an address; a newer free of another
 *                     [     ...                                ]      address with the same hash takes it over
 *
 * The allocator knows a free block by its state while the block's chunk or mapping is there. Once that is unmapped, the
 * address is nobody's, and a second free of it would be told as "no memory that malloc gave out". So frees of page-aligned
 * addresses (every mapping is one) that take the slow path are noted here, 256 of them; while recording, or with harden=1,
 * there is room for 8192, with the two stacks: of all frees with harden=1; while recording, of those that the ledger forgets:
 * spans, mappings, and the blocks of a pool that is given back.
 *
 * It is a hint for messages, asked only when a free has failed already: an entry may be missing, overwritten by a newer
 * one, or older than a mapping of the program's own at the same address.
 *
 * Threads: any. `turn` is even at rest. A writer makes it odd by compare and swap, fills the entry and makes it even
 * again; one that finds it odd or loses the swap gives up (a signal handler may have interrupted the other). A reader takes the
 * fields between two equal even turns. In a forked child an entry that another thread was writing stays odd: unused.
 */
#ifndef HEAPTALLY_FREED_H
#define HEAPTALLY_FREED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct freed_block {
    uint64_t size;            /* as asked for, else the capacity; 0: not known */
    uint32_t site, free_site; /* 0: none */
};

/* From now on there is room for many. When recording starts, and with harden=1; by one thread. */
void freed_keep_all(void);

void freed_note(const void *p, const struct freed_block *block);
/* p was freed, and not long ago. */
bool freed_find(const void *p, struct freed_block *ret);

/* Is p one that is noted without recording? */
static inline bool freed_is_large(const void *p)
{
    return ((uintptr_t)p & 4095) == 0;
}

#endif
