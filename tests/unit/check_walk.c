/* SPDX-License-Identifier: MIT */
/* check_walk.c - the walker on a sound heap, on a foreign address, and on every kind of damage. */
#include <sys/uio.h>

#include "allocator/address_map.h"
#include "allocator/layout.h"
#include "allocator/pool.h"
#include "allocator/remote.h"

#include "tests/unit/alloc_help.h"

#define MIB ((size_t)1 << 20)

static unsigned complaints;
static char complaint[200];

static void note_complaint(void *ctx, const char *line)
{
    (void)ctx;
    complaints++;
    snprintf(complaint, sizeof complaint, "%s", line);
}

static uint64_t blocks;

static bool count_block(void *ctx, const struct walk_block *block)
{
    (void)ctx;
    (void)block;
    blocks++;
    return true;
}

static enum walk_status walk_again(const struct walk_source *source)
{
    struct walk_visitor visitor = {.block = count_block, .complain = note_complaint};
    blocks = complaints = 0;
    return walk_allocator(source, (uintptr_t)alloc_root(), &visitor);
}

static void expect_damage(const char *text)
{
    ck_assert_int_eq(walk_again(&help_self), WALK_DAMAGED);
    ck_assert_uint_ge(complaints, 1);
    ck_assert_msg(strstr(complaint, text) != NULL, "said: %s", complaint);
}

/* --- refusing ------------------------------------------------------------------------------------------- */

static bool read_nothing(void *ctx, uint64_t addr, void *buf, size_t len)
{
    (void)ctx;
    (void)addr;
    (void)buf;
    (void)len;
    return false;
}

START_TEST(what_is_no_root_is_refused_by_name)
{
    struct walk_visitor visitor = {.complain = note_complaint};
    struct alloc_root root = *alloc_root();
    struct walk_source nothing = {read_nothing, NULL};
    ck_assert_int_eq(walk_allocator(&nothing, (uintptr_t)&root, &visitor), WALK_UNREADABLE);
    root.layout_version++;
    ck_assert_int_eq(walk_allocator(&help_self, (uintptr_t)&root, &visitor), WALK_OTHER_LAYOUT);
    root.layout_version--;
    root.pool_size += 8;
    ck_assert_int_eq(walk_allocator(&help_self, (uintptr_t)&root, &visitor), WALK_OTHER_LAYOUT);
    root.magic[0] = 'x';
    ck_assert_int_eq(walk_allocator(&help_self, (uintptr_t)&root, &visitor), WALK_NOT_OURS);
    for (int status = WALK_OK; status <= WALK_STOPPED; status++)
        ck_assert_str_ne(walk_status_text(status), "unknown");
}
END_TEST

START_TEST(an_allocator_never_used_has_no_blocks)
{
    ck_assert_int_eq(walk_again(&help_self), WALK_OK);
    ck_assert_uint_eq(blocks, 0);
}
END_TEST

static bool stop_at_three(void *ctx, const struct walk_block *block)
{
    (void)block;
    return ++*(int *)ctx < 3;
}

START_TEST(the_callback_stops_the_walk)
{
    int seen = 0;
    struct walk_visitor visitor = {.block = stop_at_three, .ctx = &seen};
    for (int i = 0; i < 10; i++)
        alloc_malloc(40);
    ck_assert_int_eq(walk_allocator(&help_self, (uintptr_t)alloc_root(), &visitor), WALK_STOPPED);
    ck_assert_int_eq(seen, 3);
}
END_TEST

/* --- regions -------------------------------------------------------------------------------------------- */

struct regions {
    uint64_t bytes[3];
    const void *inside[3];
    bool found[3];
};

static bool sum_region(void *ctx, const struct walk_region *region)
{
    struct regions *regions = ctx;
    ck_assert_uint_lt(region->start, region->end);
    regions->bytes[region->kind] += region->end - region->start;
    uint64_t p = (uintptr_t)regions->inside[region->kind];
    regions->found[region->kind] |= p >= region->start && p < region->end;
    return true;
}

START_TEST(regions_cover_chunks_mappings_and_metadata)
{
    struct regions regions = {{0}, {NULL}, {false}};
    struct walk_visitor visitor = {.region = sum_region, .ctx = &regions};
    alloc_keep_ledger();
    void *small = alloc_malloc(100), *large = alloc_malloc(9 * MIB);
    struct alloc_block block;
    alloc_find(small, &block);
    regions.inside[WALK_REGION_CHUNK] = small;
    regions.inside[WALK_REGION_MAPPING] = (char *)large + 8 * MIB;
    regions.inside[WALK_REGION_METADATA] = block.ledger;
    ck_assert_int_eq(walk_allocator(&help_self, (uintptr_t)alloc_root(), &visitor), WALK_OK);
    ck_assert(regions.found[0] && regions.found[1] && regions.found[2]);
    struct alloc_stats stats;
    alloc_stats_read(&stats);
    ck_assert_uint_eq(regions.bytes[WALK_REGION_CHUNK] + regions.bytes[WALK_REGION_MAPPING], stats.mapped);
    ck_assert_uint_eq(regions.bytes[WALK_REGION_METADATA] + stats.chunks * 2 * SLOT_SIZE, stats.metadata);
}
END_TEST

/* --- a process stopped in the middle -------------------------------------------------------------------- */

START_TEST(a_list_on_its_way_between_two_heads_is_free_all_the_time)
{
    void *p[40];
    for (int i = 0; i < 40; i++)
        p[i] = alloc_malloc(64);
    for (int i = 0; i < 20; i++)
        alloc_free(p[i]);
    struct pool *pool = chunk_descriptor((uintptr_t)p[0]);
    uint64_t *bin = &alloc_own_heap->bin[pool->size_class], list = *bin, freed = pool->free_list;
    ck_assert_uint_eq(help_live(), 20);
    *bin = freed; /* put on the bin, not taken off the pool yet; the bin was empty in life */
    ck_assert_int_eq(walk_again(&help_self), WALK_OK);
    *bin = list;
    ck_assert_uint_eq(help_live(), 20);
    pool->carved = 40 * 64; /* carving: the list is there, the mark is not */
    ck_assert_int_eq(walk_again(&help_self), WALK_OK);
    ck_assert_uint_eq(blocks, 20);
}
END_TEST

/* --- damage --------------------------------------------------------------------------------------------- */

START_TEST(damaged_descriptors_are_told_and_the_rest_is_walked)
{
    void *a = alloc_malloc(100), *b = alloc_malloc(200), *large = alloc_malloc(100000);
    struct pool *pool = chunk_descriptor((uintptr_t)a), saved = *pool;
    ck_assert_ptr_ne(pool, chunk_descriptor((uintptr_t)b));
    pool->block_size = 0;
    expect_damage("damaged pool");
    ck_assert_uint_eq(blocks, 2);
    *pool = saved;
    pool->capacity = 65535;
    expect_damage("damaged pool");
    *pool = saved;
    pool->slots = 255;
    expect_damage("damaged pool");
    *pool = saved;
    pool->carved = 0xffffffff;
    expect_damage("damaged pool");
    *pool = saved;
    pool->state = 99;
    expect_damage("damaged slot");
    *pool = saved;
    struct pool *span = chunk_descriptor((uintptr_t)large);
    uint8_t slots = span->slots;
    span->slots = 255;
    expect_damage("damaged span");
    span->slots = slots;
    ck_assert_int_eq(walk_again(&help_self), WALK_OK);
    ck_assert_uint_eq(blocks, 3);
}
END_TEST

START_TEST(damaged_lists_are_told_and_end)
{
    uint64_t *p = alloc_malloc(64), *q = alloc_malloc(64), *r = alloc_malloc(64);
    alloc_free(p);
    alloc_free(q);
    uint64_t secret = alloc_root()->secret;
    struct pool *pool = chunk_descriptor((uintptr_t)p), saved = *pool;
    uint64_t link = q[0], mark = q[1];
    q[1] ^= 0x10;
    expect_damage("overwritten free block");
    q[1] = mark;
    q[0] = list_from(q, secret); /* a circle */
    ck_assert_int_eq(walk_again(&help_self), WALK_OK);
    q[0] = list_from((void *)0x7f0000000000, secret);
    expect_damage("leaves its pool");
    q[0] = link;
    pool->remote = 0xffff;
    expect_damage("leaves its pool");
    *pool = saved;
    pool->free_list = 16 ^ secret;
    expect_damage("leaves its pool");
    *pool = saved;
    uint64_t *bin = &alloc_own_heap->bin[pool->size_class], list = *bin;
    *bin = list_from((char *)r + 16, secret); /* the inside of a block */
    expect_damage("leaves its pool");
    *bin = list;
    ck_assert_int_eq(walk_again(&help_self), WALK_OK);
    ck_assert_uint_eq(blocks, 1);
    ck_assert_int_eq(alloc_free(r), ALLOC_OK);
}
END_TEST

START_TEST(a_damaged_chunk_head_mapping_and_map_entry_are_told)
{
    void *p = alloc_malloc(64), *large = alloc_malloc(3 * MIB);
    uintptr_t base = chunk_base((uintptr_t)p);
    struct chunk *chunk = (struct chunk *)base;
    chunk->header.magic ^= 1;
    expect_damage("damaged chunk head");
    ck_assert_uint_eq(blocks, 1);
    chunk->header.magic ^= 1;
    struct mapping *mapping = (struct mapping *)(map_entry((uintptr_t)large) & ~MAP_MAPPING);
    mapping->length += 5;
    expect_damage("damaged mapping");
    mapping->length -= 5;
    uintptr_t *entry = &alloc_map[base >> (CHUNK_SHIFT + MAP_LEAF_BITS)]
                            ->entry[base >> CHUNK_SHIFT & ((1u << MAP_LEAF_BITS) - 1)];
    *entry = base + 4096;
    expect_damage("address map entry");
    *entry = base;
    ck_assert_int_eq(walk_again(&help_self), WALK_OK);
}
END_TEST

/* The source answers as process_vm_readv would: not at all for a range with a page that cannot be read. */
static unsigned char *hole;

static bool read_but_for_the_hole(void *ctx, uint64_t addr, void *buf, size_t len)
{
    if (addr < (uintptr_t)hole + 4096 && addr + len > (uintptr_t)hole)
        return false;
    return help_read(ctx, addr, buf, len);
}

START_TEST(a_page_taken_away_inside_a_pool_costs_no_block)
{
    void *p[64];
    for (int i = 0; i < 64; i++)
        p[i] = alloc_malloc_aligned(1024, 1024);
    alloc_free(p[0]);
    alloc_free(p[20]);
    hole = (unsigned char *)(((uintptr_t)p[6] + 4095) & ~(uintptr_t)4095);
    struct walk_source source = {read_but_for_the_hole, NULL};
    ck_assert_int_eq(walk_again(&source), WALK_OK);
    ck_assert_uint_eq(blocks, 62);
}
END_TEST

/* Flip random bits of a heap's metadata: the walk must end, whatever it says, and read nothing it should not.
 */
static bool read_checked(void *ctx, uint64_t addr, void *buf, size_t len)
{
    struct iovec to = {buf, len}, from = {(void *)(uintptr_t)addr, len};
    (void)ctx;
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)len;
}

START_TEST(random_damage_ends_every_walk)
{
    static struct pool saved[CHUNK_SLOTS];
    struct walk_source source = {read_checked, NULL};
    uint64_t seed = 4711 + (uint64_t)_i, damaged = 0;
    void *first = NULL;
    for (int i = 0; i < 4000; i++) {
        void *p = alloc_malloc(help_random(&seed) % 3000);
        first = first == NULL ? p : first;
        if (i % 3 == 0)
            alloc_free(p);
    }
    struct chunk *chunk = (struct chunk *)chunk_base((uintptr_t)first);
    memcpy(saved, chunk->pools, sizeof saved);
    for (int round = 0; round < 300; round++) {
        for (int flips = 0; flips < 5; flips++) {
            uint64_t bit = help_random(&seed) % (sizeof saved * 8);
            ((unsigned char *)chunk)[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        damaged += walk_again(&source) == WALK_DAMAGED;
        memcpy(chunk->pools, saved, sizeof saved);
    }
    ck_assert_uint_gt(damaged, 20);
    ck_assert_int_eq(walk_again(&source), WALK_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("walk");
    TCase *tests = tcase_create("walker");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, what_is_no_root_is_refused_by_name);
    tcase_add_test(tests, an_allocator_never_used_has_no_blocks);
    tcase_add_test(tests, the_callback_stops_the_walk);
    tcase_add_test(tests, regions_cover_chunks_mappings_and_metadata);
    tcase_add_test(tests, a_list_on_its_way_between_two_heads_is_free_all_the_time);
    tcase_add_test(tests, damaged_descriptors_are_told_and_the_rest_is_walked);
    tcase_add_test(tests, damaged_lists_are_told_and_end);
    tcase_add_test(tests, a_damaged_chunk_head_mapping_and_map_entry_are_told);
    tcase_add_test(tests, a_page_taken_away_inside_a_pool_costs_no_block);
    tcase_add_loop_test(tests, random_damage_ends_every_walk, 0, 4);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
