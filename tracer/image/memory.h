/* SPDX-License-Identifier: MIT */
/*
 * memory.h - reading a target: exactly, word by word, or a long stretch of which parts are missing.
 *
 *    memory_read    all of it or nothing                      tables, thread slots
 *    memory_word    one word through a cache of pages         the scan's questions about what a pointer points to
 *    memory_stream  whatever is there, in large bites         roots, large blocks
 *
 * The cache is only for words that do not change: the target is frozen.
 */
#ifndef HEAPTALLY_MEMORY_H
#define HEAPTALLY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/image/image.h"
#include "tracer/image/maps.h"

#define MEMORY_PAGE       UINT64_C(4096)
#define MEMORY_BITE       ((size_t)1 << 20)
#define MEMORY_CACHE_BITS 11

struct memory {
    const struct memory_source *source;
    const struct maps *maps; /* what is mapped readable, once known; NULL: any page may be */
    uint64_t *bite;          /* MEMORY_BITE bytes, for memory_stream and memory_fill */
    uint64_t *tags;          /* page address | 1, per cache place; 0: empty. | 2: could not be read */
    unsigned char *pages;
    bool residency; /* source->resident is there and has been seen to tell the truth */
};

/* `probe` is an address whose page is private and was written to. */
bool memory_open(struct memory *memory, const struct memory_source *source, uint64_t probe);
void memory_close(struct memory *memory);

bool memory_read(const struct memory *memory, uint64_t addr, void *buf, size_t len);
/* addr is a multiple of 8. */
bool memory_word(struct memory *memory, uint64_t addr, uint64_t *ret);

/* Words of [start, end), rounded inwards to whole words, in ascending order, in bites; what cannot be read is left
 * out. `touched_only`: private memory, of which only pages somebody wrote to can hold a pointer of the program's.
 * *ret_missing (may be NULL) grows by the bytes that could not be read. false: the callback said stop. */
typedef bool memory_words_fn(void *ctx, uint64_t addr, const uint64_t *words, size_t count);
bool memory_stream(struct memory *memory, uint64_t start, uint64_t end, bool touched_only,
                   memory_words_fn *fn, void *ctx, uint64_t *ret_missing);

#endif
