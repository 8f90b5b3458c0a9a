/* SPDX-License-Identifier: MIT */
/* check_wrong_free.c - every kind of wrong free is named, and changes nothing. */
#include <pthread.h>
#include <sys/mman.h>

#include "allocator/address_map.h"
#include "allocator/fast.h"

#include "tests/unit/alloc_help.h"

#define MIB ((size_t)1 << 20)

/* The compiler shall not know what it is about: it would see, and warn, that the fast path looks into a block that is none. */
static void expect_status(void *suspect, enum alloc_status status)
{
    void *volatile hidden = suspect;
    void *p = hidden;
    struct alloc_block block;
    void *q = &q;
    ck_assert(!alloc_free_fast(p));
    ck_assert(!alloc_free_next(p));
    ck_assert_int_eq(alloc_free(p), status);
    ck_assert_int_eq(alloc_find(p, &block), status);
    ck_assert_int_eq(alloc_realloc(p, 100, &q), status);
    ck_assert_uint_eq(alloc_usable_size(p), 0);
    ck_assert_ptr_eq(q, &q);
    help_verify();
}

START_TEST(a_block_freed_twice_is_a_double_free)
{
    static const size_t sizes[] = {1, 16, 24, 200, 1024, 1500, 5000, 30000, 40000, MIB, 3 * MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *neighbour = alloc_malloc(sizes[i]), *p = alloc_malloc(sizes[i]);
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
        /* A mapping is gone: nobody owns that address any more. */
        expect_status(p, ALLOC_DOUBLE_FREE);
        ck_assert_int_eq(alloc_free(neighbour), ALLOC_OK);
    }
}
END_TEST

START_TEST(a_double_free_is_found_however_many_frees_later)
{
    void *p[600];
    for (int i = 0; i < 600; i++)
        p[i] = alloc_malloc(64);
    for (int i = 0; i < 600; i++)
        ck_assert_int_eq(alloc_free(p[i]), ALLOC_OK);
    for (int i = 0; i < 600; i++)
        ck_assert_int_eq(alloc_free(p[i]), ALLOC_DOUBLE_FREE);
    help_verify();
}
END_TEST

START_TEST(the_inside_of_a_block_is_interior)
{
    static const size_t sizes[] = {24, 32, 200, 1000, 1500, 20000, 100000, 3 * MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *p = alloc_malloc(sizes[i]);
        struct alloc_block block;
        size_t capacity = alloc_usable_size(p);
        for (size_t at = 1; at < capacity; at = at * 2 + 1) {
            expect_status(p + at, ALLOC_INTERIOR);
            ck_assert_int_eq(alloc_find(p + at, &block), ALLOC_INTERIOR);
            ck_assert_ptr_eq(block.start, p);
            ck_assert_uint_eq(block.capacity, capacity);
        }
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    }
}
END_TEST

/* A mapping's map entry is an address too, with low bits: an address that has the same ones, at a distance from it that
 * a chunk's slots have, is still none of a span. All memory that could be taken for a descriptor says SLOT_SPAN. */
START_TEST(a_mappings_entry_is_no_chunk_to_any_address)
{
    const size_t length = 3 * CHUNK_SIZE;
    unsigned char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    memset(memory, SLOT_SPAN, length);
    uintptr_t granule = chunk_base((uintptr_t)memory + 2 * CHUNK_SIZE - 1),
              word = (granule - 65536) | MAP_MAPPING;
    void *own = alloc_malloc(100);
    state_lock(LOCK_ARENA);
    ck_assert(map_set(granule, CHUNK_SIZE, word));
    state_unlock(LOCK_ARENA);
    for (uintptr_t p = word + 65536; p < word + CHUNK_SIZE; p += SLOT_SIZE)
        ck_assert(!alloc_free_next((void *)p));
    for (uintptr_t p = granule; p < granule + CHUNK_SIZE; p += SLOT_SIZE)
        ck_assert(!alloc_free_next((void *)p));
    state_lock(LOCK_ARENA);
    map_clear(granule, CHUNK_SIZE, word);
    state_unlock(LOCK_ARENA);
    size_t same = 0;
    while (same < length && memory[same] == SLOT_SPAN)
        same++;
    ck_assert_uint_eq(same, length);
    ck_assert_int_eq(alloc_free(own), ALLOC_OK);
    munmap(memory, length);
}
END_TEST

START_TEST(addresses_that_are_not_ours_are_foreign)
{
    static int global;
    int local;
    void *ours = alloc_malloc(5 * MIB);
    expect_status(&global, ALLOC_FOREIGN);
    expect_status(&local, ALLOC_FOREIGN);
    expect_status((void *)(uintptr_t)1, ALLOC_FOREIGN);
    expect_status((void *)(uintptr_t)4096, ALLOC_FOREIGN);
    expect_status((void *)(uintptr_t)0x10000, ALLOC_FOREIGN); /* where a chunk at 0 would have slots */
    expect_status((void *)(uintptr_t)0x3fc000, ALLOC_FOREIGN);
    expect_status((void *)0x7fffffffffffffff, ALLOC_FOREIGN);
    expect_status((void *)0xffffffffff600000, ALLOC_FOREIGN);
    expect_status((void *)0x0000800000000000, ALLOC_FOREIGN);
    expect_status((char *)ours + 6 * MIB, ALLOC_FOREIGN); /* the last granule's tail */
    ck_assert(!alloc_is_ours(&local));
    ck_assert(alloc_is_ours((char *)ours + 17));
}
END_TEST

START_TEST(heads_and_slots_never_used_hold_no_block)
{
    char *p = alloc_malloc(64);
    char *chunk = (char *)chunk_base((uintptr_t)p);
    expect_status(chunk, ALLOC_INTERIOR);
    expect_status(chunk + 128, ALLOC_INTERIOR);
    expect_status(chunk + CHUNK_SIZE - SLOT_SIZE, ALLOC_INTERIOR);
}
END_TEST

START_TEST(a_block_never_handed_out_is_free)
{
    char *p = alloc_malloc(64);
    expect_status(p + 64, ALLOC_DOUBLE_FREE);       /* carved, on the list */
    expect_status(p + 64 * 200, ALLOC_DOUBLE_FREE); /* not even carved */
    expect_status(p + 64 * 200 + 1, ALLOC_INTERIOR);
}
END_TEST

START_TEST(a_block_whose_content_looks_free_is_still_freed)
{
    uint64_t secret = alloc_root()->secret;
    uint64_t *p = alloc_malloc(64);
    secret = alloc_root()->secret;
    p[0] = 0x1234;
    p[1] = (uintptr_t)p ^ secret;   /* one chance in 2^64, taken */
    ck_assert(!alloc_free_fast(p)); /* not the fast one: the lists must be asked */
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    ck_assert_int_eq(alloc_free(p), ALLOC_DOUBLE_FREE);
    help_verify();
}
END_TEST

static const void *corrupted;

static void note_corruption(const void *block)
{
    corrupted = block;
}

START_TEST(a_write_to_free_memory_is_told_and_its_list_given_up)
{
    uint64_t *p = alloc_malloc(64), *q = alloc_malloc(64);
    alloc_on_corruption(note_corruption);
    alloc_free(q);
    alloc_free(p);
    for (int i = 0; i < 1000 && corrupted == NULL; i++) {
        p[0] = 0x4141414141414141; /* once p is the next to be handed out, this shows */
        ck_assert_ptr_nonnull(alloc_malloc(64));
    }
    ck_assert_ptr_eq(corrupted, p);
    ck_assert_uint_eq(alloc_root()->corruptions, 1);
    ck_assert_ptr_nonnull(alloc_malloc(64));
}
END_TEST

static void *free_twice(void *p)
{
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
    ck_assert_int_eq(alloc_free(p), ALLOC_DOUBLE_FREE);
    return NULL;
}

START_TEST(a_double_free_by_another_thread_is_found)
{
    pthread_t thread;
    void *p = alloc_malloc(40), *q = alloc_malloc(40);
    pthread_create(&thread, NULL, free_twice, p);
    pthread_join(thread, NULL);
    ck_assert_int_eq(alloc_free(p), ALLOC_DOUBLE_FREE);
    ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    pthread_create(&thread, NULL, free_twice, alloc_malloc(40));
    pthread_join(thread, NULL);
    help_verify();
}
END_TEST

START_TEST(a_pool_given_back_still_knows_its_blocks)
{
    static char *p[3000];
    for (int i = 0; i < 3000; i++)
        p[i] = alloc_malloc(200);
    for (int i = 0; i < 3000; i++)
        alloc_free(p[i]);
    alloc_purge();
    for (int i = 0; i < 3000; i += 7) {
        ck_assert_int_eq(alloc_free(p[i]), ALLOC_DOUBLE_FREE);
        ck_assert_int_eq(alloc_free(p[i] + 16), ALLOC_INTERIOR);
    }
    help_verify();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wrong free");
    TCase *tests = tcase_create("status");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_block_freed_twice_is_a_double_free);
    tcase_add_test(tests, a_double_free_is_found_however_many_frees_later);
    tcase_add_test(tests, the_inside_of_a_block_is_interior);
    tcase_add_test(tests, addresses_that_are_not_ours_are_foreign);
    tcase_add_test(tests, a_mappings_entry_is_no_chunk_to_any_address);
    tcase_add_test(tests, heads_and_slots_never_used_hold_no_block);
    tcase_add_test(tests, a_block_never_handed_out_is_free);
    tcase_add_test(tests, a_block_whose_content_looks_free_is_still_freed);
    tcase_add_test(tests, a_write_to_free_memory_is_told_and_its_list_given_up);
    tcase_add_test(tests, a_double_free_by_another_thread_is_found);
    tcase_add_test(tests, a_pool_given_back_still_knows_its_blocks);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
