/* SPDX-License-Identifier: MIT */
/*
 * interior.h - which pointers into the middle of a block hold it as well as one to its start would.
 *
 *    operator new T[n] with a count before it      [ n | T | T | T ]       p = start + 8 or 16
 *                                                        ^p
 *    base subobject (multiple inheritance)         [ vtable | .. | vtable of the base | .. ]
 *                                                                  ^p
 *    std::string with a shared buffer (old ABI)    [ length | capacity | count | characters ]
 *                                                                              ^p
 *    tsearch(3) node                               [ key | left + red bit | right ]        p = start + 1, the link
 *                                                        of a red node to its left child carries its colour
 *    a thread's table of TLS blocks                [ size | generation | ... ]   p = start + 16, in fs_base + 8
 *
 * Each is told by what stands in memory, not by names; each asks for enough to be rarely true by chance. What is
 * not on the list holds weakly: such a block is possible, not reachable.
 */
#ifndef HEAPTALLY_INTERIOR_H
#define HEAPTALLY_INTERIOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/image/memory.h"
#include "tracer/image/ranges.h"

struct interior {
    struct memory *memory;
    const struct ranges *constant; /* read-only memory of modules: where vtables are. Normal */
    const uint64_t *tls_words;     /* addresses of the words that hold threads' TLS tables, ascending */
    size_t tls_word_count;
};

/* block->addr + offset stands in the word at `word` (0: a register); holder: the block that word is in, or NULL.
 * 0 < offset <= block->size. */
bool interior_is_accepted(const struct interior *interior, const struct image_block *block, uint64_t offset,
                          uint64_t word, const struct image_block *holder);

#endif
