/* SPDX-License-Identifier: MIT */
/*
 * recording_pool.h - the strings section as the writer builds it: texts to offsets, each text once.
 *
 *    "" \0 "main" \0 "src/list.c" \0 ...        offset 0 is always the empty string
 */
#ifndef HEAPTALLY_RECORDING_POOL_H
#define HEAPTALLY_RECORDING_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rec_pool {
    char *bytes;
    size_t used, size;
    uint32_t *slots; /* offset + 1; 0: free. At most half full */
    size_t slot_count, entries;
};

bool rec_pool_open(struct rec_pool *pool); /* false when memory is out; close it all the same */
void rec_pool_close(struct rec_pool *pool);
/* False when memory is out or the offset no longer fits 32 bits. */
bool rec_pool_add(struct rec_pool *pool, const char *text, uint32_t *ret_offset);

#endif
