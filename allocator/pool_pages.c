/* SPDX-License-Identifier: MIT */
/* pool_pages.c - see pool_pages.h. */
#include "allocator/pool_pages.h"

#include "allocator/pool.h"
#include "allocator/remote.h"
#include "allocator/state.h"

struct free_marks {
    uint64_t word[POOL_CAPACITY_MAX / 64];
};

static uint32_t carved_blocks(const struct pool *pool)
{
    return pool_index(pool, (uint32_t)pool->carved);
}

uint32_t pool_purged_blocks(const struct pool *pool)
{
    uint32_t count = 0, carved = carved_blocks(pool);
    if (pool->purged == 0)
        return 0;
    for (uint32_t i = 0; i < carved; i++)
        count += pool_block_is_purged(pool, i);
    return count;
}

/* --- which pages ---------------------------------------------------------------------------------------- */

/* false: the list was written over, or leads elsewhere. */
static bool free_list_mark(const struct pool *pool, struct free_marks *marks)
{
    uint64_t secret = alloc_root_data.secret, list = pool->free_list;
    const struct free_block *block;
    for (uint32_t steps = 0; (block = list_first(list, secret)) != NULL; steps++) {
        uint64_t offset = (uintptr_t)block - pool->start;
        uint32_t index = pool_index(pool, (uint32_t)offset);
        if (steps > pool->capacity || offset >= pool->carved || !free_block_seems(block, secret))
            return false;
        marks->word[index / 64] |= (uint64_t)1 << index % 64;
        list = block->link;
    }
    return true;
}

/* Blocks that touch a page that is purged already are free. */
static uint32_t used_pages(const struct pool *pool, const struct free_marks *marks)
{
    uint32_t used = 0, carved = carved_blocks(pool);
    for (uint32_t i = 0; i < carved; i++) {
        uint64_t from = (uint64_t)i * pool->block_size;
        if ((marks->word[i / 64] >> i % 64 & 1) == 0 && !pool_block_is_purged(pool, i))
            used |= pool_pages(from, from + pool->block_size);
    }
    return used;
}

/* Pages that carving is done with. */
static uint32_t carved_pages(const struct pool *pool)
{
    bool all = pool->carved == (uint64_t)pool->capacity * pool->block_size;
    uint64_t bytes = all ? pool->carved + (1 << POOL_PAGE_SHIFT) - 1 : pool->carved;
    return (uint32_t)(((uint64_t)1 << (bytes >> POOL_PAGE_SHIFT)) - 1);
}

/* --- purging -------------------------------------------------------------------------------------------- */

/* What is left of the free list, in ascending order. Returns its length. */
static uint32_t free_list_rebuild(struct pool *pool, const struct free_marks *marks)
{
    uint64_t secret = alloc_root_data.secret, list = list_end(pool, secret);
    uint32_t length = 0;
    for (uint32_t i = carved_blocks(pool); i-- > 0;) {
        if ((marks->word[i / 64] >> i % 64 & 1) == 0 || pool_block_is_purged(pool, i))
            continue;
        free_block_write(pool_block(pool, i), list, secret);
        list = list_from(pool_block(pool, i), secret);
        length++;
    }
    store_relaxed(&pool->free_list, list);
    return length;
}

/* What the kernel refuses stays resident, and is taken back like the rest. */
static void pages_return(const struct pool *pool, uint32_t pages)
{
    while (pages != 0) {
        unsigned first = (unsigned)__builtin_ctz(pages);
        uint64_t run = ~((uint64_t)pages >> first);
        unsigned length = (unsigned)__builtin_ctzll(run);
        (void)platform_purge((void *)(pool->start + ((uintptr_t)first << POOL_PAGE_SHIFT)),
                             (size_t)length << POOL_PAGE_SHIFT);
        pages &= ~(uint32_t)((((uint64_t)1 << length) - 1) << first);
    }
}

/* Has the free list rested since the last call? A few bits of what changes with every free are enough: a wrong yes
 * costs a page fault. */
static bool pool_rested(struct pool *pool)
{
    uint64_t now = pool->free_list ^ (uint64_t)pool->used << 17;
    uint8_t age = (now >> 4 ^ now >> 11 ^ now >> 18) & 127;
    bool same = pool->age == age;
    pool->age = age & 127;
    pool->searched = pool->searched && same;
    return same;
}

static bool pool_is_wanted(struct pool *pool, enum purge_what what)
{
    bool rested = pool_rested(pool);
    if (list_first(pool->free_list, alloc_root_data.secret) == NULL)
        return false;
    return what == PURGE_ALL || (rested && !pool->searched);
}

/* What others freed counts too. */
static void remote_to_free_list(struct pool *pool)
{
    uint64_t list = list_end(pool, alloc_root_data.secret);
    if (remote_collect(pool, &list))
        pool_retake(pool, &list);
}

bool pool_purge_pages(struct pool *pool, enum purge_what what)
{
    struct free_marks marks = {{0}};
    if (pool->full || pool->torn)
        return false;
    remote_to_free_list(pool);
    if (!pool_is_wanted(pool, what) || !free_list_mark(pool, &marks))
        return false;
    pool->searched = true;
    uint32_t pages = carved_pages(pool) & ~used_pages(pool, &marks) & ~pool->purged;
    if (pages == 0)
        return false;
    uint32_t purged_before = pool_purged_blocks(pool);
    uint32_t free_before = carved_blocks(pool) - pool->used - purged_before;
    /* First the bitmap: whoever looks in between sees its blocks free twice, never not at all. */
    store_relaxed(&pool->purged, pool->purged | pages);
    uint32_t left = free_list_rebuild(pool, &marks);
    /* Blocks of a list that was given up after an overwrite count as used for good. */
    uint32_t gone = pool_purged_blocks(pool) - purged_before;
    store_relaxed(&pool->used, pool->used + free_before - left - gone);
    pool->blocks = (uint16_t)(pool->blocks - gone);
    pages_return(pool, pages);
    (void)pool_rested(pool);
    pool->searched = true;
    return true;
}

/* --- and back ------------------------------------------------------------------------------------------- */

bool pool_take_back(struct pool *pool, uint64_t *bin)
{
    uint64_t secret = alloc_root_data.secret, list = list_end(pool, secret);
    while (pool->purged != 0) {
        uint32_t page = pool->purged & -pool->purged, left = pool->purged & ~page, count = 0;
        for (uint32_t i = carved_blocks(pool); i-- > 0;) {
            uint64_t from = (uint64_t)i * pool->block_size;
            uint32_t touched = pool_pages(from, from + pool->block_size);
            if ((touched & page) == 0 || (touched & left) != 0)
                continue;
            free_block_write(pool_block(pool, i), list, secret);
            list = list_from(pool_block(pool, i), secret);
            count++;
        }
        store_relaxed(bin, list);
        store_relaxed(&pool->used, pool->used + count);
        pool->blocks = (uint16_t)(pool->blocks + count);
        store_relaxed(&pool->purged, left);
        /* A page that only holds parts of blocks frees none by itself. */
        if (count != 0)
            return true;
    }
    return false;
}
