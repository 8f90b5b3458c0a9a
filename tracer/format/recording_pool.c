/* SPDX-License-Identifier: MIT */
#include "tracer/format/recording_pool.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE  4096u
#define FIRST_SLOTS 256u

bool rec_pool_open(struct rec_pool *pool)
{
    *pool = (struct rec_pool){.size = FIRST_SIZE, .slot_count = FIRST_SLOTS};
    pool->bytes = malloc(pool->size);
    pool->slots = calloc(pool->slot_count, sizeof *pool->slots);
    uint32_t ignored;
    return pool->bytes != NULL && pool->slots != NULL && rec_pool_add(pool, "", &ignored);
}

void rec_pool_close(struct rec_pool *pool)
{
    free(pool->bytes);
    free(pool->slots);
    *pool = (struct rec_pool){0};
}

static size_t slot_of(const struct rec_pool *pool, const uint32_t *slots, size_t count, const char *text)
{
    uint64_t h = 14695981039346656037ull;
    for (const char *c = text; *c != '\0'; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211ull;
    size_t i = (h ^ h >> 32) & (count - 1);
    while (slots[i] != 0 && strcmp(pool->bytes + slots[i] - 1, text) != 0)
        i = (i + 1) & (count - 1);
    return i;
}

static bool grow_slots(struct rec_pool *pool)
{
    size_t count = pool->slot_count * 2;
    uint32_t *slots = calloc(count, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < pool->slot_count; i++)
        if (pool->slots[i] != 0)
            slots[slot_of(pool, slots, count, pool->bytes + pool->slots[i] - 1)] = pool->slots[i];
    free(pool->slots);
    pool->slots = slots;
    pool->slot_count = count;
    return true;
}

static bool grow_bytes(struct rec_pool *pool, size_t more)
{
    size_t size = pool->size;
    while (size - pool->used < more)
        size *= 2;
    char *bytes = size == pool->size ? pool->bytes : realloc(pool->bytes, size);
    if (bytes == NULL)
        return false;
    pool->bytes = bytes;
    pool->size = size;
    return true;
}

bool rec_pool_add(struct rec_pool *pool, const char *text, uint32_t *ret_offset)
{
    size_t slot = slot_of(pool, pool->slots, pool->slot_count, text);
    if (pool->slots[slot] != 0) {
        *ret_offset = pool->slots[slot] - 1;
        return true;
    }
    size_t length = strlen(text) + 1;
    if (length > UINT32_MAX - pool->used || !grow_bytes(pool, length))
        return false;
    if (pool->entries * 2 >= pool->slot_count) {
        if (!grow_slots(pool))
            return false;
        slot = slot_of(pool, pool->slots, pool->slot_count, text);
    }
    memcpy(pool->bytes + pool->used, text, length);
    *ret_offset = (uint32_t)pool->used;
    pool->slots[slot] = *ret_offset + 1;
    pool->used += length;
    pool->entries++;
    return true;
}
