/* SPDX-License-Identifier: MIT */
/*
 * sites.h - the tree of stacks: nodes (ip, parent, module), each once; a stack is its innermost frame's node.
 *
 *     main --.                       index: open addressing, at most half full, entries are node ids
 *             '- parse --.           nodes: in segments that never move (tables.h)
 *                         '- node 17 <- ledger entries of the blocks this stack allocated
 *
 * Threads: look-ups take no lock. A node is complete before its id is published in the index (release), so a
 * reader that sees the id sees the node. Inserting takes the lock, looks again, appends. Growing the index
 * publishes a new array; a reader in the old one may miss a newer node, takes the lock and finds it there.
 * Old arrays are left mapped for such readers: together they are as large as the last one.
 */
#ifndef HEAPTALLY_SITES_H
#define HEAPTALLY_SITES_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/format/tables.h"

bool sites_start(struct record_root *root);
/* The node's id, made when new; SITE_END_NO_STACK when memory is out (the parent is then lost with it). */
uint32_t sites_find(uint64_t ip, uint32_t parent, uint32_t module);
/* NULL for ids that are no node. */
const struct site_node *sites_node(uint32_t id);
bool sites_lock_is_mine(void); /* by this very thread */
void sites_fork_child(void);

#endif
