/* SPDX-License-Identifier: MIT */
#include "tracer/image/interior.h"

#define STRING_HEAD 24u /* length, capacity, count of sharers and padding */
#define TREE_NODE   24u /* key, left, right */
#define TREE_LEFT   8u
#define TLS_HEAD    16u /* size and generation come before the entry that fs_base + 8 points at */

/* The count itself must divide what follows it; with no element at all the pointer is the block's end. */
static bool is_counted_array(const struct interior *interior, const struct image_block *block,
                             uint64_t offset)
{
    uint64_t n;
    if ((offset != 8 && offset != 16) || !memory_word(interior->memory, block->addr + offset - 8, &n))
        return false;
    uint64_t elements = block->size - offset;
    return n == 0 ? elements == 0 : elements > 0 && elements % n == 0;
}

static bool is_vtable_at(const struct interior *interior, uint64_t addr)
{
    uint64_t table;
    return memory_word(interior->memory, addr, &table) && table % 8 == 0 &&
           ranges_find(interior->constant, table) != NULL;
}

static bool is_base_subobject(const struct interior *interior, const struct image_block *block,
                              uint64_t offset)
{
    return offset % 8 == 0 && offset + 8 <= block->size && is_vtable_at(interior, block->addr + offset) &&
           is_vtable_at(interior, block->addr);
}

static bool is_shared_string(const struct interior *interior, const struct image_block *block,
                             uint64_t offset)
{
    uint64_t length, capacity, sharers;
    if (offset != STRING_HEAD || !memory_word(interior->memory, block->addr, &length) ||
        !memory_word(interior->memory, block->addr + 8, &capacity) ||
        !memory_word(interior->memory, block->addr + 16, &sharers))
        return false;
    if (length > capacity || capacity >= block->size || (int32_t)(uint32_t)sharers < -1)
        return false;
    return block->size == STRING_HEAD + (capacity + 1) || block->size == STRING_HEAD + 4 * (capacity + 1);
}

static bool is_tree_link(const struct image_block *block, uint64_t offset, uint64_t word,
                         const struct image_block *holder)
{
    return offset == 1 && block->size == TREE_NODE && holder && holder->size == TREE_NODE &&
           word - holder->addr == TREE_LEFT;
}

static bool is_tls_table(const struct interior *interior, uint64_t offset, uint64_t word)
{
    if (offset != TLS_HEAD)
        return false;
    size_t low = 0, high = interior->tls_word_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (interior->tls_words[middle] < word)
            low = middle + 1;
        else
            high = middle;
    }
    return low < interior->tls_word_count && interior->tls_words[low] == word;
}

bool interior_is_accepted(const struct interior *interior, const struct image_block *block, uint64_t offset,
                          uint64_t word, const struct image_block *holder)
{
    return is_tree_link(block, offset, word, holder) || is_tls_table(interior, offset, word) ||
           is_counted_array(interior, block, offset) || is_shared_string(interior, block, offset) ||
           is_base_subobject(interior, block, offset);
}
