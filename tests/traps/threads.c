/* SPDX-License-Identifier: MIT */
/* Threads that come, go, vanish and are tiny; keys, TLS, and the end of the process among running threads. */
#include <limits.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

#define SLACK_KIB 6144

static void *short_life(void *argument)
{
    void *p = malloc(1000), *q = malloc(40000);
    memset(p, 1, 1000), memset(q, 1, 40000);
    free(p), free(q), free(argument);
    return malloc(50); /* freed by another thread, after this one's end */
}

static void run_one(void *(*life)(void *), pthread_attr_t *attributes)
{
    pthread_t thread;
    void *result = NULL;
    REQUIRE(pthread_create(&thread, attributes, life, malloc(70)) == 0);
    pthread_join(thread, &result);
    free(result);
}

static void run_batch(void *(*life)(void *), int count)
{
    pthread_t threads[16];
    void *result;
    for (int i = 0; i < count; i++)
        REQUIRE(pthread_create(&threads[i], NULL, life, malloc(70)) == 0);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], &result), free(result);
}

static void check_flat(long before, const char *what)
{
    long after = trap_resident_kib();
    if (after - before >= SLACK_KIB)
        trap_say("%s: %ld KiB resident before, %ld after", what, before, after);
    CHECK(after - before < SLACK_KIB);
}

static void many_short_threads_leave_nothing(void)
{
    for (int i = 0; i < 200; i++)
        run_one(short_life, NULL);
    long before = trap_resident_kib();
    for (size_t i = 0; i < trap_times(20000, 100000); i++)
        run_one(short_life, NULL);
    check_flat(before, "one after the other");
}

static void many_batches_of_threads_leave_nothing(void)
{
    for (int i = 0; i < 50; i++)
        run_batch(short_life, 16);
    long before = trap_resident_kib();
    for (size_t i = 0; i < trap_times(500, 6000); i++)
        run_batch(short_life, 1 + (int)(i % 16));
    check_flat(before, "in batches");
}

/* --- ends without an end -------------------------------------------------------------------------- */

/* No destructor runs, and pthread_join still sees the end (the kernel clears the id), so that stacks come back. */
static void *ends_by_raw_exit(void *argument)
{
    void *p[20];
    for (int i = 0; i < 20; i++)
        memset(p[i] = malloc((size_t)i * 60 + 1), 1, (size_t)i * 60 + 1);
    for (int i = 0; i < 20; i++)
        free(p[i]);
    free(argument);
    syscall(SYS_exit, 0);
    return NULL;
}

/* The C library never learns of the end either: stacks are ours, one for all. */
static void raw_thread_exit_leaves_nothing(void)
{
    size_t size = 128 << 10;
    pthread_attr_t attributes;
    void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_init(&attributes);
    long before = 0;
    for (size_t i = 0; i < trap_times(2000, 50000); i++) {
        if (i == 200)
            before = trap_resident_kib();
        pthread_attr_setstack(&attributes, stack, size);
        run_one(ends_by_raw_exit, &attributes);
    }
    check_flat(before, "raw exits");
}

static volatile int clone_result;
static volatile int clone_alive; /* the kernel clears it at the clone's end */

static int clones_life(void *unused)
{
    for (int i = 0; i < 20000; i++)
        free(malloc((size_t)i % 2000));
    (void)unused;
    clone_result = 1;
    return 0;
}

/* A clone without TLS of its own looks like its creator. Both at once is beyond what can be served; the creator
 * waits here, so all must go well, as in the C library. */
static void raw_clone_with_the_creators_tls(void)
{
    size_t size = 256 << 10;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                CLONE_CHILD_CLEARTID;
    for (int i = 0; i < 20; i++) {
        clone_result = 0, clone_alive = 1;
        REQUIRE(clone(clones_life, stack + size, flags, NULL, NULL, NULL, &clone_alive) > 0);
        while (clone_alive)
            syscall(SYS_futex, &clone_alive, FUTEX_WAIT, 1, NULL, NULL, 0);
        CHECK(clone_result == 1);
        clones_life(NULL);
    }
}

/* Both at once, in a child process: it may be told off and ended, but it must not hang. */
static void clone_and_creator_at_once(void *unused)
{
    size_t size = 256 << 10;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    (void)unused;
    signal(SIGABRT, SIG_DFL);
    if (clone(clones_life, stack + size, flags, NULL) <= 0)
        _exit(9);
    for (int i = 0; i < 10; i++)
        clones_life(NULL);
    while (!clone_result)
        usleep(100);
    _exit(0);
}

static void raw_clone_beside_its_creator_does_not_hang(void)
{
    for (int i = 0; i < 10; i++) {
        pid_t pid = fork();
        if (pid == 0)
            clone_and_creator_at_once(NULL);
        int status = trap_wait(pid, 10);
        CHECK(status != -1);
        CHECK(status == 0 || WIFSIGNALED(status));
    }
}

/* --- small stacks --------------------------------------------------------------------------------- */

static void *all_calls(void *argument)
{
    for (int i = 0; i < 200; i++) {
        char *p = malloc((size_t)i * 40), *q = calloc(1, (size_t)i * 400), *a = memalign(256, 1000);
        p = realloc(p, (size_t)i * 100 + 1);
        q = realloc(q, 100000);
        CHECK(p && q && a && malloc_usable_size(a) >= 1000);
        free(p), free(q), free(a);
    }
    free(argument);
    return NULL;
}

static void threads_with_16_kib_stacks(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    REQUIRE(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN) == 0);
    for (int i = 0; i < 100; i++)
        run_one(all_calls, &attributes);
}

static void threads_with_1_gib_stacks(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    REQUIRE(pthread_attr_setstacksize(&attributes, (size_t)1 << 30) == 0);
    for (int i = 0; i < 10; i++)
        run_one(all_calls, &attributes);
}

/* --- thread-specific data ------------------------------------------------------------------------- */

static pthread_key_t keys[PTHREAD_KEYS_MAX];
static int key_count, destroyed;

/* Every destructor frees, allocates, and comes back in the next round while there is one. */
static void destructor(void *value)
{
    int at = *(int *)value;
    free(value);
    int *again = malloc(sizeof(int) * 10);
    *again = at;
    free(calloc(1, 3000));
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
    if (pthread_setspecific(keys[at], again) != 0)
        free(again);
}

static void *sets_all_keys(void *argument)
{
    for (int i = 0; i < key_count; i++) {
        int *value = malloc(sizeof(int));
        *value = i;
        CHECK(pthread_setspecific(keys[i], value) == 0);
    }
    free(argument);
    return NULL;
}

static void make_keys(int most)
{
    while (key_count < most && pthread_key_create(&keys[key_count], destructor) == 0)
        key_count++;
}

static void destructors_of_every_round_allocate(void)
{
    make_keys(100); /* past 32, their values are in memory that pthread_setspecific allocates */
    for (int i = 0; i < 200; i++)
        run_one(sets_all_keys, NULL);
    CHECK(destroyed == 200 * key_count * PTHREAD_DESTRUCTOR_ITERATIONS);
}

/* The last round's blocks are the program's own leaks: about 16 KiB of 1,000 keys a thread. */
static void all_1024_keys_taken(void)
{
    make_keys(PTHREAD_KEYS_MAX);
    CHECK(key_count > 1000);
    for (int i = 0; i < 30; i++)
        run_one(sets_all_keys, NULL);
    CHECK(destroyed == 30 * key_count * PTHREAD_DESTRUCTOR_ITERATIONS);
    for (int i = 0; i < key_count; i++)
        pthread_key_delete(keys[i]);
    long before = trap_resident_kib();
    for (int i = 0; i < 2000; i++)
        run_one(short_life, NULL);
    check_flat(before, "after all keys");
}

static void *volatile late_block;
static pthread_key_t late_key;
static void late_destructor(void *value)
{
    uintptr_t round = (uintptr_t)value;
    void *p = malloc(64);
    memset(p, (int)round, 64);
    free(__atomic_exchange_n(&late_block, p, __ATOMIC_ACQ_REL));
    if (round < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(late_key, (void *)(round + 1));
}

static void *sets_late_key(void *argument)
{
    pthread_setspecific(late_key, (void *)1);
    return argument;
}

/* The thread's record is neither revived for good nor leaked by what comes after its own destructor. */
static void allocation_after_the_last_destructor_leaves_nothing(void)
{
    pthread_key_create(&late_key, late_destructor);
    for (int i = 0; i < 200; i++)
        run_one(sets_late_key, NULL);
    long before = trap_resident_kib();
    for (size_t i = 0; i < trap_times(5000, 50000); i++)
        run_one(sets_late_key, NULL);
    check_flat(before, "late destructors");
}

/* --- the end -------------------------------------------------------------------------------------- */

static void *loops(void *argument)
{
    void *slots[32] = {0};
    for (unsigned i = 0;; i++) {
        free(slots[i % 32]);
        slots[i % 32] = malloc(i % 5000);
        if (i % 1000 == 0)
            free(realloc(malloc(100000), 300000));
    }
    return argument;
}

static void at_exit(void)
{
    free(malloc(5000));
    usleep(2000); /* the threads go on */
}

static void exits_among_threads(void *how)
{
    pthread_t thread;
    atexit(at_exit);
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread, NULL, loops, NULL) == 0);
    usleep(1000);
    if (how)
        quick_exit(0);
    exit(0);
}

static void exit_while_threads_allocate(void)
{
    for (uintptr_t i = 0; i < trap_times(80, 3000); i++)
        REQUIRE(trap_child(exits_among_threads, (void *)(i % 4 == 3), 10));
}

/* What stood in stdio's buffers comes out, whatever runs at the exit. */
static void exit_flushes_what_was_printed(void)
{
    char text[200] = "";
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        printf("not yet written");
        exits_among_threads(NULL);
    }
    CHECK(trap_wait(pid, 10) == 0);
    CHECK(read(ends[0], text, sizeof(text) - 1) == 15 && strcmp(text, "not yet written") == 0);
}

static pthread_t first;
static void *ends_the_process(void *argument)
{
    pthread_join(first, NULL);
    free(malloc(100));
    usleep(1000);
    exit(0);
    return argument;
}

static void last_thread_after_mains_pthread_exit(void *unused)
{
    pthread_t thread;
    first = pthread_self();
    (void)unused;
    REQUIRE(pthread_create(&thread, NULL, ends_the_process, NULL) == 0);
    pthread_exit(NULL);
}

static void main_ends_before_its_threads(void)
{
    for (int i = 0; i < 20; i++)
        REQUIRE(trap_child(last_thread_after_mains_pthread_exit, NULL, 10));
}

const struct trap traps[] = {
    {"many_short_threads_leave_nothing", many_short_threads_leave_nothing, 60},
    {"many_batches_of_threads_leave_nothing", many_batches_of_threads_leave_nothing, 60},
    {"raw_thread_exit_leaves_nothing", raw_thread_exit_leaves_nothing, 60},
    {"raw_clone_with_the_creators_tls", raw_clone_with_the_creators_tls, 0},
    {"raw_clone_beside_its_creator_does_not_hang", raw_clone_beside_its_creator_does_not_hang, 0},
    {"threads_with_16_kib_stacks", threads_with_16_kib_stacks, 0},
    {"threads_with_1_gib_stacks", threads_with_1_gib_stacks, 0},
    {"destructors_of_every_round_allocate", destructors_of_every_round_allocate, 0},
    {"all_1024_keys_taken", all_1024_keys_taken, 0},
    {"allocation_after_the_last_destructor_leaves_nothing",
     allocation_after_the_last_destructor_leaves_nothing, 0},
    {"exit_while_threads_allocate", exit_while_threads_allocate, 60},
    {"exit_flushes_what_was_printed", exit_flushes_what_was_printed, 0},
    {"main_ends_before_its_threads", main_ends_before_its_threads, 0},
    {0},
};
