/* SPDX-License-Identifier: MIT */
/*
 * harden.h - harden=1: a layer between the exported functions and the allocator that makes wrong writes visible.
 *
 *   live, in a pool          | what the program asked for | canary ... |          at least 8 bytes of canary
 *   live, span or mapping    | what the program asked for | canary ... | (slack) | page that faults |
 *   freed, in quarantine     | poison ..................................|          then alloc_free()
 *
 * Canaries are checked at free, realloc and when the process ends; poison when a block leaves the quarantine and when the
 * process ends. So an overflow, a write after free and a second free of a block whose memory would long have been
 * another's are told, with the block. Page that faults: only so many, since the kernel limits mappings.
 *
 * Every block keeps a ledger entry (recording or not): the size asked for says where the canary begins, and
 * is what malloc_usable_size answers; the state tells a block in quarantine (LEDGER_FREED) from a live one, which the
 * allocator cannot. A reader of a frozen process takes freed entries for no blocks, so nothing in quarantine is a leak.
 * Canary and poison words are no addresses: their top bits are those of none.
 *
 * Costs nothing while off: the fast paths know nothing of it (alloc_intercept), the slow ones ask once.
 *
 * Threads: any; no lock here. An entry goes from live to freed by an exchange, so of two frees at once one is told.
 */
#ifndef HEAPTALLY_HARDEN_H
#define HEAPTALLY_HARDEN_H

#include "allocator/allocator.h"
#include "tracer/format/tables.h"

/* From the first call, before any block. `bytes` may wait in quarantine. */
void harden_start(uint64_t bytes);

/* In place of the allocator's functions of these names; entries are filled, with site 0. */
void *harden_allocate(enum alloc_kind kind, size_t size, size_t alignment);
enum alloc_status harden_free(void *p);
enum alloc_status harden_realloc(void *p, size_t size, void **ret_block);
size_t harden_usable_size(const void *p); /* of a block of ours; 0 otherwise */

/* The same for a caller who has found the block and has marked its entry freed; *was is the entry before that. */
void harden_retire(const struct alloc_block *block, const struct ledger_entry *was);
/* The block that now holds size bytes, or NULL: then nothing has changed, but the entry's mark. */
void *harden_resize(const struct alloc_block *block, const struct ledger_entry *was, size_t size);

/* --- for sweep.c --------------------------------------------------------------------------------------------- */

/* The first byte of a live block's canary that is not as it was written; NULL: sound. */
const unsigned char *harden_canary_damage(const struct alloc_block *block, const struct ledger_entry *entry);
/* Likewise of a block in quarantine. */
const unsigned char *harden_poison_damage(const struct alloc_block *block, const struct ledger_entry *entry);
/* Regions of 4 MiB that ever held a block, by their number; returns the count written. */
size_t harden_regions(uint32_t *numbers, size_t from, size_t max);

#endif
