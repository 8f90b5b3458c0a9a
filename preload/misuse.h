/* SPDX-License-Identifier: MIT */
/*
 * misuse.h - a wrong pointer came in: one clear line on stderr, with record=1 the stacks, then the policy.
 *
 *   heaptally: double free of 0x7f3c40001240 (60-byte block, class 64) in prog pid 4711
 *     the block was allocated by:
 *       #0 prog+0x1189
 *       ...
 *     first freed by:
 *       #0 prog+0x11a7
 *     now freed by thread 4711:
 *       #0 prog+0x11c2
 *
 * misuse=abort (default): then abort(). misuse=report: the line, and the program goes on, the memory
 * untouched. misuse=ignore: not even the line. Addresses are module+offset: symbols are the companion's
 * business (addr2line -e takes the offset of a position-independent module as it is).
 *
 * The texts are tested (tests/misuse); change both.
 */
#ifndef HEAPTALLY_MISUSE_H
#define HEAPTALLY_MISUSE_H

#include "allocator/allocator.h"
#include "tracer/format/tables.h"

/* `call` is the function the program called: "free", "realloc", "operator delete". Returns under the policies
 * that let the program go on. */
void misuse_report(const char *call, void *p, enum alloc_status status);

/* free of what operator new allocated, or delete of what it did not. The block is sound and is freed all the same, so
 * this is told (at most 16 times) and never aborts: programs live with it under every malloc. record=1 only. */
void misuse_mismatch(const char *call, void *p, const struct ledger_entry *entry);

/* Free memory was found written over: alloc_on_corruption()'s callee. */
void misuse_corruption(const void *block);

/* harden=1: the byte at `at`, in a block that waits in quarantine, is not as it was left. */
void misuse_written(const struct alloc_block *block, const struct ledger_entry *entry, const void *at);

/* harden=1: the byte at `at`, behind what was asked for, is not as it was left; seen by "free", "realloc", "exit". */
void misuse_overflow(const struct alloc_block *block, const struct ledger_entry *entry, const void *at,
                     const char *seen_by);

#endif
