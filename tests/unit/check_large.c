/* SPDX-License-Identifier: MIT */
/* check_large.c - large blocks: caches of spans and mappings, what frees, forks, limits and a refusing kernel do to
 * them; growth by realloc; chunks mapped in part. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "allocator/fast.h"
#include "allocator/platform.h"

#include "tests/unit/alloc_help.h"

#define KIB    ((size_t)1 << 10)
#define MIB    ((size_t)1 << 20)
#define BLOCKS 200

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void *take(size_t size)
{
    void *p = alloc_malloc(size);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void give(void *p)
{
    ck_assert_int_eq(alloc_free(p), ALLOC_OK);
}

static struct alloc_stats figures(void)
{
    struct alloc_stats stats;
    alloc_stats_read(&stats);
    return stats;
}

static void expect_bytes(const unsigned char *p, unsigned char value, size_t size)
{
    for (size_t i = 0; i < size; i += i % 4096 == 0 ? 1 : 4095)
        ck_assert_uint_eq(p[i], value);
    ck_assert_uint_eq(p[size - 1], value);
}

/* Run `body` in a thread of its own and wait for its end. */
static void in_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, body, argument), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* --- spans ---------------------------------------------------------------------------------------------- */

START_TEST(a_freed_span_comes_back_for_the_same_size)
{
    void *p = take(100000), *q = take(100000);
    give(p);
    help_verify();
    ck_assert_uint_eq(help_live(), 1);
    ck_assert_ptr_eq(take(99000), p);
    give(p);
    give(q);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

START_TEST(a_cached_span_is_free_to_everybody)
{
    char *p = take(100000);
    struct alloc_block block;
    give(p);
    ck_assert_int_eq(alloc_free(p), ALLOC_DOUBLE_FREE);
    ck_assert_int_eq(alloc_find(p, &block), ALLOC_DOUBLE_FREE);
    ck_assert_int_eq(alloc_free(p + 16), ALLOC_INTERIOR);
    ck_assert_int_eq(alloc_free(p + 20000), ALLOC_INTERIOR);
    ck_assert_uint_eq(alloc_usable_size(p), 0);
    ck_assert(!alloc_free_next(p));
    void *moved;
    ck_assert_int_eq(alloc_realloc(p, 50000, &moved), ALLOC_DOUBLE_FREE);
    struct alloc_stats stats = figures();
    ck_assert_uint_eq(stats.spans, 0);
    ck_assert_uint_ge(stats.cached, 100000);
    help_verify();
}
END_TEST

START_TEST(a_span_from_a_cache_is_zeroed_when_zeros_are_asked_for)
{
    unsigned char *p = take(300000);
    memset(p, 0xee, 300000);
    give(p);
    unsigned char *q = alloc_malloc_zeroed(300000);
    ck_assert_ptr_eq(p, q);
    expect_bytes(q, 0, 300000);
    give(q);
}
END_TEST

START_TEST(a_cache_keeps_to_its_bound)
{
    void *p[BLOCKS];
    for (size_t size = 33000; size <= 2 * MIB; size *= 2) {
        for (int i = 0; i < BLOCKS; i++)
            p[i] = take(size);
        for (int i = 0; i < BLOCKS; i++) {
            give(p[i]);
            if (i % 16 == 0)
                help_verify(); /* knows the bound */
        }
    }
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

struct race {
    pthread_barrier_t barrier;
    void *p;
    int freed[2];
};

static void *race_to_free(void *argument)
{
    struct race *race = argument;
    give(take(40000)); /* a cache of its own */
    for (int round = 0; round < 3000; round++) {
        pthread_barrier_wait(&race->barrier);
        race->freed[1] = alloc_free(race->p) == ALLOC_OK;
        pthread_barrier_wait(&race->barrier);
    }
    return NULL;
}

START_TEST(of_two_threads_that_free_one_span_one_succeeds)
{
    struct race race;
    pthread_t thread;
    pthread_barrier_init(&race.barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, race_to_free, &race), 0);
    for (int round = 0; round < 3000; round++) {
        race.p = take(100000 + (size_t)round % 8 * 16384);
        pthread_barrier_wait(&race.barrier);
        race.freed[0] = alloc_free(race.p) == ALLOC_OK;
        pthread_barrier_wait(&race.barrier);
        ck_assert_int_eq(race.freed[0] + race.freed[1], 1);
    }
    pthread_join(thread, NULL);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

static void *cache_spans(void *argument)
{
    void *p[6];
    for (int i = 0; i < 6; i++)
        memset(p[i] = take(250000), 1, 250000);
    for (int i = 0; i < 6; i++)
        give(p[i]);
    if (argument != NULL) {
        pthread_barrier_wait(argument);
        pthread_barrier_wait(argument);
    }
    alloc_thread_exit();
    return NULL;
}

START_TEST(a_thread_that_ends_leaves_no_cached_span)
{
    in_thread(cache_spans, NULL);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
    struct alloc_stats before = figures();
    ck_assert_uint_ge(before.cached, 6 * 250000);
    ck_assert(alloc_purge());
    ck_assert_uint_eq(figures().cached, 0);
    help_verify();
}
END_TEST

START_TEST(a_tick_empties_the_cache_of_a_thread_that_sleeps)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    alloc_set_decay(20);
    ck_assert_int_eq(pthread_create(&thread, NULL, cache_spans, &barrier), 0);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 5; i++) {
        sleep_ms(25);
        give(alloc_malloc_aligned(2 * MIB, MIB)); /* a slow path of another thread */
    }
    ck_assert_uint_le(figures().cached, MIB);
    help_verify();
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
}
END_TEST

/* --- forks ---------------------------------------------------------------------------------------------- */

static void expect_child_succeeds(void (*body)(void *), void *argument)
{
    int status;
    fflush(NULL);
    alloc_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        alloc_fork_child();
        body(argument);
        _exit(0);
    }
    alloc_fork_parent();
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

static void fail_child(void *ctx, const char *line)
{
    (void)ctx;
    (void)!write(2, line, strlen(line));
    (void)!write(2, "\n", 1);
    _exit(9);
}

static void child_uses_large_blocks(void *argument)
{
    void **cached = argument;
    if (alloc_verify(fail_child, NULL) != 0 || alloc_free(cached[0]) != ALLOC_DOUBLE_FREE ||
        alloc_free(cached[1]) != ALLOC_DOUBLE_FREE)
        _exit(1);
    for (int i = 0; i < 50; i++) {
        void *p = alloc_malloc(100000), *q = alloc_malloc(5 * MIB);
        if (p == NULL || q == NULL || alloc_free(p) != ALLOC_OK || alloc_free(q) != ALLOC_OK)
            _exit(2);
    }
    if (alloc_verify(fail_child, NULL) != 0)
        _exit(3);
}

START_TEST(a_forked_child_has_what_lay_in_the_caches)
{
    void *cached[2] = {take(400000), take(6 * MIB)};
    pthread_t thread;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    give(cached[0]);
    give(cached[1]);
    ck_assert_int_eq(pthread_create(&thread, NULL, cache_spans, &barrier), 0);
    pthread_barrier_wait(&barrier);
    expect_child_succeeds(child_uses_large_blocks, cached);
    help_verify();
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    help_verify();
}
END_TEST

static bool churn_ends;

static void *churn(void *argument)
{
    uint64_t seed = (uintptr_t)argument + 77;
    void *p[12] = {NULL};
    while (!__atomic_load_n(&churn_ends, __ATOMIC_RELAXED)) {
        unsigned k = help_random(&seed) % 12;
        if (p[k] != NULL)
            give(p[k]);
        p[k] = take(33000 + help_random(&seed) % (k == 0 ? 9 * MIB : MIB));
    }
    for (int k = 0; k < 12; k++)
        if (p[k] != NULL)
            give(p[k]);
    alloc_thread_exit();
    return NULL;
}

static void child_churns(void *argument)
{
    (void)argument;
    if (alloc_verify(fail_child, NULL) != 0)
        _exit(1);
    void *p[30];
    for (size_t i = 0; i < 30; i++)
        if ((p[i] = alloc_malloc(40000 * (i + 1))) == NULL)
            _exit(2);
    for (size_t i = 0; i < 30; i++)
        if (alloc_free(p[i]) != ALLOC_OK)
            _exit(3);
    (void)alloc_purge();
    if (alloc_verify(fail_child, NULL) != 0)
        _exit(4);
}

START_TEST(forks_and_purges_among_threads_that_churn_large_blocks)
{
    pthread_t thread[3];
    alloc_set_decay(10);
    for (uintptr_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, churn, (void *)i), 0);
    for (int i = 0; i < (HELP_ASAN || HELP_TSAN ? 0 : 60); i++) {
        expect_child_succeeds(child_churns, NULL);
        (void)alloc_purge();
    }
    for (int i = 0; i < 40; i++) {
        (void)alloc_purge();
        sleep_ms(5);
    }
    __atomic_store_n(&churn_ends, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

static void *fill_chunks(void *argument)
{
    enum { SPANS = 12, ROUNDS = HELP_ASAN || HELP_TSAN ? 60 : 1000 };
    (void)argument;
    for (int round = 0; round < ROUNDS; round++) {
        void *p[SPANS];
        for (int i = 0; i < SPANS; i++)
            p[i] = take(MIB + MIB / 2);
        for (int i = 0; i < SPANS; i++)
            give(p[i]);
        (void)alloc_purge();
    }
    alloc_thread_exit();
    return NULL;
}

/* What one gave back to the kernel is at once another's. */
START_TEST(chunks_come_and_go_among_threads)
{
    pthread_t thread[3];
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, fill_chunks, NULL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

/* --- mappings ------------------------------------------------------------------------------------------- */

START_TEST(a_freed_mapping_is_free_to_everybody_and_comes_back)
{
    char *p = take(9 * MIB);
    give(p);
    ck_assert_int_eq(alloc_free(p), ALLOC_DOUBLE_FREE);
    ck_assert_int_eq(alloc_free(p + 5 * MIB), ALLOC_INTERIOR);
    ck_assert_uint_eq(help_live(), 0);
    struct alloc_stats stats = figures();
    ck_assert_uint_eq(stats.mappings, 0);
    ck_assert_uint_eq(stats.cached, 9 * MIB);
    help_verify();
    ck_assert_ptr_eq(take(9 * MIB - 5000), p);
    help_verify();
    give(p);
}
END_TEST

START_TEST(a_cached_mapping_serves_shorter_and_longer_requests)
{
    unsigned char *p = take(30 * MIB);
    memset(p, 0xaa, 30 * MIB);
    give(p);
    unsigned char *a = alloc_malloc_zeroed(5 * MIB); /* cut from it; its rest is cached */
    ck_assert_ptr_eq(a, p);
    expect_bytes(a, 0, 5 * MIB);
    help_verify();
    unsigned char *b = alloc_malloc_zeroed(40 * MIB); /* the rest, grown */
    expect_bytes(b, 0, 40 * MIB);
    help_verify();
    ck_assert_uint_eq(help_live(), 2);
    memset(a, 1, 5 * MIB);
    memset(b, 2, 40 * MIB);
    expect_bytes(a, 1, 5 * MIB);
    give(a);
    expect_bytes(b, 2, 40 * MIB);
    unsigned char *c = alloc_malloc_zeroed(7 * MIB);
    expect_bytes(c, 0, 7 * MIB);
    give(b);
    give(c);
    help_verify();
    ck_assert(alloc_purge());
    ck_assert_uint_eq(figures().mapped, 0);
}
END_TEST

START_TEST(cached_mappings_are_bounded_and_decay)
{
    void *p[12];
    alloc_set_decay(30);
    for (int i = 0; i < 12; i++)
        p[i] = take(16 * MIB);
    for (int i = 0; i < 12; i++)
        give(p[i]);
    ck_assert_uint_le(figures().mapped, 64 * MIB);
    ck_assert_uint_ge(figures().mapped, 32 * MIB);
    for (int i = 0; i < 4; i++) {
        sleep_ms(35);
        give(take(33000));
        give(alloc_malloc_aligned(2 * MIB, MIB));
    }
    ck_assert_uint_le(figures().mapped, 12 * MIB);
    help_verify();
}
END_TEST

/* --- realloc -------------------------------------------------------------------------------------------- */

static unsigned char *grow(unsigned char *p, size_t *size, size_t to, int *moves)
{
    void *q;
    p[*size - 1] = (unsigned char)*size;
    ck_assert_int_eq(alloc_realloc(p, to, &q), ALLOC_OK);
    ck_assert_ptr_nonnull(q);
    *moves += q != p;
    ck_assert_uint_eq(((unsigned char *)q)[*size - 1], (unsigned char)*size);
    *size = to;
    return q;
}

START_TEST(a_block_that_grows_beside_others_is_seldom_moved)
{
    void *wall[400];
    size_t size = 40000, walls = 0;
    int moves = 0;
    unsigned char *p = take(size);
    while (size < 40 * MIB) {
        p = grow(p, &size, size + size / 30 + 4000, &moves);
        if (walls < 400 && size < 2 * MIB)
            wall[walls++] = take(33000); /* takes what is right behind */
    }
    ck_assert_int_le(moves, 40);
    help_verify();
    void *q;
    ck_assert_int_eq(alloc_realloc(p, 3 * MIB, &q), ALLOC_OK); /* gives back */
    ck_assert_uint_le(alloc_usable_size(q), 4 * MIB);
    ck_assert_int_eq(alloc_realloc(q, MIB, &q), ALLOC_OK);
    ck_assert_uint_le(alloc_usable_size(q), 5 * MIB / 4);
    give(q);
    while (walls > 0)
        give(wall[--walls]);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

/* --- a kernel that refuses ------------------------------------------------------------------------------ */

static int large_trace(void)
{
    unsigned char *p[10] = {NULL};
    size_t size[10] = {0};
    uint64_t seed = 4711;
    int refused = 0;
    for (int step = 0; step < 150; step++) {
        unsigned k = help_random(&seed) % 10, what = help_random(&seed) % 3;
        size_t wanted = 33000 + help_random(&seed) % (k < 5 ? MIB : 12 * MIB);
        if (p[k] == NULL) {
            p[k] = what == 0 ? alloc_malloc_zeroed(wanted) : alloc_malloc(wanted);
            if (p[k] != NULL && what == 0)
                expect_bytes(p[k], 0, wanted);
        } else if (what == 0) {
            void *moved;
            ck_assert_int_eq(alloc_realloc(p[k], wanted, &moved), ALLOC_OK);
            if (moved == NULL) {
                refused++;
                continue;
            }
            p[k] = moved;
        } else {
            ck_assert_uint_eq(p[k][0], k + 1);
            ck_assert_uint_eq(p[k][size[k] - 1], k + 1);
            give(p[k]);
            p[k] = NULL;
            if (step % 8 == 0)
                (void)alloc_purge();
            continue;
        }
        refused += p[k] == NULL;
        size[k] = wanted;
        if (p[k] != NULL)
            p[k][0] = p[k][wanted - 1] = (unsigned char)(k + 1);
    }
    for (int k = 0; k < 10; k++)
        if (p[k] != NULL)
            give(p[k]);
    (void)alloc_purge();
    return refused;
}

START_TEST(caches_survive_any_single_kernel_failure)
{
    (void)platform_fail_nth(0);
    ck_assert_int_eq(large_trace(), 0);
    uint64_t calls = platform_fail_nth(0);
    ck_assert_uint_ge(calls, 50);
    for (uint64_t n = 1; n <= calls; n++) {
        (void)platform_fail_nth(n);
        (void)large_trace();
        (void)platform_fail_nth(0);
        help_verify();
        ck_assert_uint_eq(help_live(), 0);
    }
    fprintf(stderr, "  %llu kernel calls, each failed once\n", (unsigned long long)calls);
}
END_TEST

/* --- little address space ------------------------------------------------------------------------------- */

static size_t address_space(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%ld", &pages), 1);
    fclose(file);
    return (size_t)pages * 4096;
}

static void limit_address_space(size_t more)
{
    struct rlimit limit = {address_space() + more, RLIM_INFINITY};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

static void lift_limit(void)
{
    struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
}

static int fill_until_out(size_t size, void **p, int most)
{
    int count = 0;
    while (count < most && (p[count] = alloc_malloc(size)) != NULL)
        memset(p[count++], 7, size);
    return count;
}

START_TEST(two_megabytes_are_enough_to_live_in)
{
    static void *p[3000];
    static const size_t sizes[] = {1000, 100000, 20000, 400000, 100};
    limit_address_space(2 * MIB);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++) {
            int count = fill_until_out(sizes[i], p, 3000);
            ck_assert_uint_ge((size_t)count * sizes[i], sizes[i] == 100 ? 300000 : 700000);
            help_verify();
            for (int k = 0; k < count; k++)
                give(p[k]);
            help_verify();
        }
    }
    lift_limit(); /* the walker needs memory of its own */
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

START_TEST(what_lies_behind_a_chunk_in_part_is_not_ours)
{
    limit_address_space(2 * MIB);
    char *p = take(1000), *granule = (char *)((uintptr_t)p & ~(4 * MIB - 1));
    lift_limit();
    size_t mapped = figures().mapped;
    ck_assert_uint_lt(mapped, 4 * MIB);
    char *stranger = mmap(granule + 3 * MIB, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_eq(stranger, granule + 3 * MIB);
    ck_assert_int_eq(alloc_free(stranger), ALLOC_FOREIGN);
    ck_assert(!alloc_is_ours(stranger));
    ck_assert(alloc_is_ours(granule + mapped - 1));
    give(p);
    help_verify();
    ck_assert_uint_eq(help_live(), 0);
}
END_TEST

START_TEST(another_threads_cache_is_no_reason_to_refuse)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    void *p[600];
    pthread_barrier_init(&barrier, NULL, 2);
    alloc_set_decay(-1);
    ck_assert_int_eq(pthread_create(&thread, NULL, cache_spans, &barrier), 0);
    pthread_barrier_wait(&barrier);
    ck_assert_uint_ge(figures().cached, 6 * 250000);
    limit_address_space(0);
    int count = fill_until_out(30000, p, 600);
    ck_assert_uint_ge((size_t)count * 30000, 3 * MIB); /* of the one chunk there is */
    while (count > 0)
        give(p[--count]);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    help_verify();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("large");
    TCase *tests = tcase_create("blocks");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, a_freed_span_comes_back_for_the_same_size);
    tcase_add_test(tests, a_cached_span_is_free_to_everybody);
    tcase_add_test(tests, a_span_from_a_cache_is_zeroed_when_zeros_are_asked_for);
    tcase_add_test(tests, a_cache_keeps_to_its_bound);
    tcase_add_test(tests, of_two_threads_that_free_one_span_one_succeeds);
    tcase_add_test(tests, a_thread_that_ends_leaves_no_cached_span);
    tcase_add_test(tests, a_tick_empties_the_cache_of_a_thread_that_sleeps);
    if (!HELP_ASAN && !HELP_TSAN) {
        tcase_add_test(tests, a_forked_child_has_what_lay_in_the_caches);
        tcase_add_test(tests, two_megabytes_are_enough_to_live_in);
        tcase_add_test(tests, what_lies_behind_a_chunk_in_part_is_not_ours);
        tcase_add_test(tests, another_threads_cache_is_no_reason_to_refuse);
    }
    tcase_add_test(tests, forks_and_purges_among_threads_that_churn_large_blocks);
    tcase_add_test(tests, chunks_come_and_go_among_threads);
    tcase_add_test(tests, a_freed_mapping_is_free_to_everybody_and_comes_back);
    tcase_add_test(tests, a_cached_mapping_serves_shorter_and_longer_requests);
    tcase_add_test(tests, cached_mappings_are_bounded_and_decay);
    tcase_add_test(tests, a_block_that_grows_beside_others_is_seldom_moved);
    tcase_add_test(tests, caches_survive_any_single_kernel_failure);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
