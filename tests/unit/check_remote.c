/* SPDX-License-Identifier: MIT */
/* check_remote.c - several threads: remote frees, full pools, threads that end, adoption, fork among threads.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "allocator/address_map.h"
#include "allocator/fast.h"
#include "allocator/remote.h"

#include "tests/unit/alloc_help.h"

static void run_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, body, arg), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

struct batch {
    size_t size;
    int count;
    void *block[20000];
};
static struct batch batch;

static void batch_alloc(struct batch *b, size_t size, int count)
{
    b->size = size;
    b->count = count;
    for (int i = 0; i < count; i++) {
        b->block[i] = alloc_malloc(size);
        ck_assert_ptr_nonnull(b->block[i]);
        memset(b->block[i], i, size);
    }
}

static void *batch_free(void *arg)
{
    struct batch *b = arg;
    for (int i = 0; i < b->count; i++)
        if (b->block[i] != NULL)
            ck_assert_int_eq(alloc_free(b->block[i]), ALLOC_OK);
    return NULL;
}

static void *batch_fill_and_exit(void *arg)
{
    (void)arg;
    batch_alloc(&batch, batch.size, batch.count);
    alloc_thread_exit();
    return NULL;
}

static struct pool *pool_of(void *p)
{
    return chunk_descriptor((uintptr_t)p);
}

/* --- the remote word's states --------------------------------------------------------------------------- */

START_TEST(a_full_pool_is_watched_queued_by_the_first_remote_free_and_usable_again)
{
    batch_alloc(&batch, 1024, 129); /* 128 to a pool: the first is full and unlisted */
    struct pool *pool = pool_of(batch.block[0]);
    ck_assert_uint_ne(pool->owner & POOL_UNLISTED, 0);
    ck_assert_uint_eq(REMOTE_NOTIFY(pool->remote), REMOTE_WATCHED);
    struct batch two = {.count = 2, .block = {batch.block[0], batch.block[1]}};
    run_thread(batch_free, &two);
    ck_assert_uint_eq(REMOTE_NOTIFY(pool->remote), REMOTE_QUEUED);
    ck_assert_uint_eq(REMOTE_COUNT(pool->remote), 2);
    ck_assert_ptr_eq(alloc_own_heap->pending, pool);
    help_verify();
    batch_alloc(&two, 1024, 129); /* runs dry, drains, and gets them back */
    ck_assert_uint_eq(REMOTE_COUNT(pool->remote), 0);
    ck_assert_ptr_null(alloc_own_heap->pending);
    help_verify();
}
END_TEST

START_TEST(the_owners_free_into_a_queued_pool_waits_for_the_drain)
{
    batch_alloc(&batch, 1024, 129);
    struct pool *pool = pool_of(batch.block[0]);
    struct batch one = {.count = 1, .block = {batch.block[0]}};
    run_thread(batch_free, &one);
    for (int i = 1; i < 128; i++)
        ck_assert_int_eq(alloc_free(batch.block[i]), ALLOC_OK);
    ck_assert_uint_eq(REMOTE_NOTIFY(pool->remote), REMOTE_QUEUED);
    help_verify();
    ck_assert(alloc_purge());
    ck_assert_uint_eq(pool->state, SLOT_FREE);
    help_verify();
    ck_assert_uint_eq(help_live(), 1);
}
END_TEST

START_TEST(everything_freed_remotely_comes_back)
{
    for (size_t size = 16; size < 70000; size = size * 3 / 2 + 16) {
        for (int round = 0; round < 4; round++) {
            batch_alloc(&batch, size, size > 4096 ? 300 : 3000);
            run_thread(batch_free, &batch);
            help_verify();
        }
    }
    ck_assert_uint_eq(help_live(), 0);
    struct alloc_stats stats;
    alloc_purge();
    alloc_stats_read(&stats);
    ck_assert_uint_eq(stats.pools, 0);
    ck_assert_uint_eq(stats.live_blocks, 0);
    ck_assert_uint_le(stats.mapped, (size_t)8 << 20);
}
END_TEST

/* --- threads that end ----------------------------------------------------------------------------------- */

START_TEST(pools_of_an_ended_thread_are_adopted)
{
    batch.size = 100;
    batch.count = 50;
    run_thread(batch_fill_and_exit, NULL);
    struct pool *pool = pool_of(batch.block[0]);
    ck_assert_uint_eq(REMOTE_NOTIFY(pool->remote), REMOTE_WATCHED);
    ck_assert_uint_eq(help_live(), 50);
    help_verify();
    void *p = alloc_malloc(100);
    ck_assert_ptr_eq(pool_of(p), pool);
    ck_assert_uint_eq(REMOTE_NOTIFY(pool->remote), REMOTE_QUIET);
    help_verify();
    batch_free(&batch);
    ck_assert_uint_eq(help_live(), 1);
}
END_TEST

START_TEST(remote_frees_empty_an_orphan_and_its_memory_is_reused)
{
    batch.size = 500;
    batch.count = 2000;
    run_thread(batch_fill_and_exit, NULL);
    batch_free(&batch);
    help_verify();
    struct alloc_stats stats;
    alloc_purge();
    alloc_stats_read(&stats);
    ck_assert_uint_eq(stats.pools, 0);
    help_verify();
}
END_TEST

START_TEST(a_thread_that_ended_still_allocates_and_frees)
{
    void *kept = alloc_malloc(50);
    alloc_thread_exit();
    alloc_thread_exit();
    ck_assert_ptr_null(alloc_malloc_fast(50));
    for (size_t size = 1; size < 5000000; size = size * 2 + 1) {
        void *p = alloc_malloc(size), *q = alloc_malloc_zeroed(size);
        ck_assert_ptr_nonnull(p);
        ck_assert_ptr_nonnull(q);
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
        ck_assert_int_eq(alloc_free(p), ALLOC_DOUBLE_FREE);
        ck_assert_int_eq(alloc_free(q), ALLOC_OK);
    }
    for (int i = 0; i < 100000; i++)
        ck_assert_int_eq(alloc_free(alloc_malloc(64)), ALLOC_OK);
    ck_assert_int_eq(alloc_free(kept), ALLOC_OK);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

static void *touch_and_exit(void *arg)
{
    void **slot = arg;
    for (int i = 0; i < 20; i++)
        alloc_free(alloc_malloc((size_t)i * 40 + 1));
    *slot = alloc_malloc(200);
    alloc_thread_exit();
    return NULL;
}

START_TEST(thousands_of_short_threads_leave_memory_flat)
{
    struct alloc_stats before, after;
    void *p;
    for (int i = 0; i < 2000; i++) {
        run_thread(touch_and_exit, &p);
        ck_assert_int_eq(alloc_free(p), ALLOC_OK);
        if (i == 50)
            alloc_stats_read(&before);
    }
    alloc_stats_read(&after);
    ck_assert_uint_le(after.mapped, before.mapped);
    ck_assert_uint_le(after.metadata, before.metadata);
    ck_assert_uint_eq(help_live(), 0);
    help_verify();
}
END_TEST

/* --- all at once ---------------------------------------------------------------------------------------- */

#define CROWD     4
#define EXCHANGES 60000
static void *exchange[256];

/* Threads swap blocks through a common table: most are freed by another thread than allocated them, and the
 * threads end and are followed by others while that goes on. */
static void *swap_blocks(void *arg)
{
    uint64_t seed = (uintptr_t)arg * 7919 + 1;
    for (int i = 0; i < EXCHANGES / 4; i++) {
        size_t size =
            help_random(&seed) % 8 != 0 ? help_random(&seed) % 300 + 8 : help_random(&seed) % 40000 + 8;
        uint64_t *p = alloc_malloc_fast(size);
        p = p != NULL ? p : alloc_malloc(size);
        ck_assert_ptr_nonnull(p);
        *p = ~(uint64_t)(uintptr_t)p;
        uint64_t *old = __atomic_exchange_n(&exchange[help_random(&seed) % 256], p, __ATOMIC_ACQ_REL);
        if (old == NULL)
            continue;
        ck_assert_uint_eq(*old, ~(uint64_t)(uintptr_t)old);
        if (!alloc_free_fast(old))
            ck_assert_int_eq(alloc_free(old), ALLOC_OK);
    }
    alloc_thread_exit();
    return NULL;
}

static void *generations(void *arg)
{
    for (uintptr_t i = 0; i < 4; i++)
        run_thread(swap_blocks, (void *)((uintptr_t)arg + i));
    return NULL;
}

START_TEST(a_crowd_that_exchanges_blocks_and_dies_leaves_a_sound_heap)
{
    pthread_t thread[CROWD];
    for (uintptr_t i = 0; i < CROWD; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, generations, (void *)(i * 100 + 1)), 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(thread[i], NULL);
    help_verify();
    uint64_t held = 0;
    for (int i = 0; i < 256; i++)
        held += exchange[i] != NULL;
    ck_assert_uint_eq(help_live(), held);
    for (int i = 0; i < 256; i++)
        if (exchange[i] != NULL)
            ck_assert_int_eq(alloc_free(exchange[i]), ALLOC_OK);
    alloc_purge();
    help_verify();
    struct alloc_stats stats;
    alloc_stats_read(&stats);
    ck_assert_uint_eq(stats.live_blocks, 0);
    ck_assert_uint_eq(stats.pools, 0);
}
END_TEST

/* --- fork ----------------------------------------------------------------------------------------------- */

static bool stop;

static void *allocate_until_stopped(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    void *mine[64] = {0};
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        unsigned k = help_random(&seed) % 64;
        if (mine[k] != NULL && !alloc_free_fast(mine[k]))
            alloc_free(mine[k]);
        size_t size = help_random(&seed) % 2000;
        mine[k] = alloc_malloc_fast(size);
        mine[k] = mine[k] != NULL ? mine[k] : alloc_malloc(size);
        void *old = __atomic_exchange_n(&exchange[help_random(&seed) % 256], mine[k], __ATOMIC_ACQ_REL);
        mine[k] = old;
    }
    return NULL;
}

/* Fork with our hooks round it; the child's exit code is what `life` returns. Returns its wait status. */
static int fork_and_wait(int (*life)(void))
{
    alloc_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        alloc_fork_child();
        _exit(life());
    }
    alloc_fork_parent();
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

/* 0 when the child's heap works: it frees what it inherited, allocates, and starts a thread. */
static int life(void)
{
    for (int i = 0; i < 256; i++)
        if (exchange[i] != NULL && alloc_free(exchange[i]) != ALLOC_OK)
            return 2;
    memset(exchange, 0, sizeof exchange);
    for (int i = 0; i < 3000; i++) {
        void *p = alloc_malloc((size_t)i);
        if (p == NULL || (i % 3 != 0 && alloc_free(p) != ALLOC_OK))
            return 3;
    }
    run_thread(touch_and_exit, &exchange[0]);
    return alloc_verify(help_complain, NULL) == 0 ? 0 : 4;
}

static int life_with_a_child(void)
{
    int status = life();
    return status != 0 ? status : fork_and_wait(life) == 0 ? 0 : 5;
}

START_TEST(children_of_a_busy_process_have_a_working_heap)
{
    pthread_t thread[3];
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, allocate_until_stopped, (void *)(i + 1));
    for (int i = 0; i < 60; i++) {
        alloc_free(alloc_malloc(300));
        int status = fork_and_wait(life_with_a_child);
        ck_assert_msg(status == 0, "child %d: status %x", i, status);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    help_verify();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("remote");
    TCase *tests = tcase_create("threads");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, a_full_pool_is_watched_queued_by_the_first_remote_free_and_usable_again);
    tcase_add_test(tests, the_owners_free_into_a_queued_pool_waits_for_the_drain);
    tcase_add_test(tests, everything_freed_remotely_comes_back);
    tcase_add_test(tests, pools_of_an_ended_thread_are_adopted);
    tcase_add_test(tests, remote_frees_empty_an_orphan_and_its_memory_is_reused);
    tcase_add_test(tests, a_thread_that_ended_still_allocates_and_frees);
    tcase_add_test(tests, thousands_of_short_threads_leave_memory_flat);
    tcase_add_test(tests, a_crowd_that_exchanges_blocks_and_dies_leaves_a_sound_heap);
    if (!HELP_TSAN && !HELP_ASAN) /* their runtimes do not survive every fork among threads */
        tcase_add_test(tests, children_of_a_busy_process_have_a_working_heap);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
