/* SPDX-License-Identifier: MIT */
/*
 * account.h - counting what is live, without stacks: the setting account=PATH, for `heaptally frag`.
 *
 *   allocate() -> face_state.accounting -> account_allocate() -> alloc_*, size into the block's ledger entry
 *   release()                              account_release()     and onto the shared page (tracer/format/account.h)
 *
 * As with recording, interception keeps the fast paths out, and every block has a ledger entry from the first call on;
 * but no stack is taken, no signal is held, no thread is parked, and no companion is spoken to but through the page.
 * Threads: all of it from any thread, but for account_start() (the first call) and account_fork_child().
 */
#ifndef HEAPTALLY_PRELOAD_ACCOUNT_H
#define HEAPTALLY_PRELOAD_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "allocator/allocator.h"
#include "tracer/format/tables.h"

/* Map the page; false: it is not there, not for this process, or not of our version, and nothing is counted. */
bool account_start(const char *path);

void *account_allocate(enum alloc_kind kind, size_t size, size_t alignment);
enum alloc_status account_release(void *p);
enum alloc_status account_resize(void *p, size_t size, void **ret_block);

/* The child's blocks are its own affair. */
void account_fork_child(void);

/* The process is at its end: let the companion look once more. */
void account_end(void);

#endif
