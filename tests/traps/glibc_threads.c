/* SPDX-License-Identifier: MIT */
/* The C library's own tests of its malloc that have threads, forks, limits and wrong frees; see glibc_calls.c. */
#include <execinfo.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

static volatile int stop;

/* --- tst-malloc-thread-exit: threads end while others free what they allocated --------------------- */

#define PASSED 64
static char *volatile passed[PASSED];

static void *ends_at_once(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument * 7919;
    for (int i = 0; i < 60; i++) {
        unsigned at = trap_random(&seed) % PASSED;
        size_t size = trap_random(&seed) % 2000 + 32;
        char *p = malloc(size);
        trap_fill(p, 32, at);
        char *old = __atomic_exchange_n(&passed[at], p, __ATOMIC_ACQ_REL);
        if (old)
            CHECK(trap_is_filled(old, 32, at));
        free(old);
    }
    return NULL;
}

static void *spawns(void *argument)
{
    pthread_t threads[4];
    for (uintptr_t round = 0; round < trap_times(300, 10000); round++) {
        for (uintptr_t i = 0; i < 4; i++)
            REQUIRE(pthread_create(&threads[i], NULL, ends_at_once, (void *)(round * 4 + i)) == 0);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
    return argument;
}

static void tst_malloc_thread_exit(void)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, spawns, NULL) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

/* tst-malloc-tcache-leak: what a thread caches goes when it goes. */
static void *caches(void *unused)
{
    void *p[200];
    for (size_t i = 0; i < 200; i++)
        memset(p[i] = malloc(i * 8), 1, i * 8);
    for (int i = 0; i < 200; i++)
        free(p[i]);
    return unused;
}

static void tst_malloc_tcache_leak(void)
{
    pthread_t thread;
    long before = 0;
    for (int i = 0; i < 3000; i++) {
        if (i == 100)
            before = trap_resident_kib();
        REQUIRE(pthread_create(&thread, NULL, caches, NULL) == 0);
        pthread_join(thread, NULL);
    }
    CHECK(trap_resident_kib() - before < 4096);
}

/* --- tst-malloc-thread-fail: allocation fails in many threads at once ------------------------------- */

struct chain {
    struct chain *next;
};

static void chain_free(struct chain *chain)
{
    while (chain) {
        struct chain *next = chain->next;
        free(chain);
        chain = next;
    }
}

static void *allocate_by(unsigned call, size_t size)
{
    switch (call % 5) {
    case 0:
        return malloc(size);
    case 1:
        return calloc(1, size);
    case 2:
        return realloc(NULL, size);
    case 3:
        return memalign(64, size);
    default:
        return valloc(size);
    }
}

/* Until NULL, by every call; then all is freed. */
static void *takes_all_there_is(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (unsigned round = 0; round < 5; round++) {
        struct chain *chain = NULL, *block;
        size_t size = 16 + trap_random(&seed) % (round % 2 ? 3000 : 300000);
        errno = 0;
        while ((block = allocate_by(round, size)) != NULL) {
            block->next = chain;
            chain = block;
        }
        CHECK(errno == ENOMEM);
        chain_free(chain);
    }
    return NULL;
}

static void limit_address_space(size_t more)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file && fscanf(file, "%ld", &pages) == 1);
    fclose(file);
    struct rlimit limit = {(rlim_t)pages * 4096 + more, RLIM_INFINITY};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void tst_malloc_thread_fail(void)
{
    pthread_t threads[8];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    for (unsigned round = 0; round < 4; round++) {
        limit_address_space((size_t)64 << 20);
        unsigned started = 0;
        for (; started < 8; started++)
            if (pthread_create(&threads[started], &attributes, takes_all_there_is,
                               (void *)(uintptr_t)(started + 1)) != 0)
                break; /* the others may have left nothing for its stack */
        CHECK(started > 0);
        for (unsigned i = 0; i < started; i++)
            pthread_join(threads[i], NULL);
        struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
        setrlimit(RLIMIT_AS, &none);
        void *p = malloc((size_t)20 << 20);
        CHECK(p != NULL);
        free(p);
    }
}

/* --- tst-malloc-fork-deadlock ---------------------------------------------------------------------- */

static void *writes_to_memory(void *unused)
{
    while (!stop) {
        char *text = NULL;
        size_t length;
        FILE *stream = open_memstream(&text, &length);
        for (int i = 0; i < 300; i++)
            fprintf(stream, "line %d\n", i);
        fclose(stream);
        free(text);
    }
    return unused;
}

static void *asks_for_figures(void *unused)
{
    FILE *null = fopen("/dev/null", "w");
    while (!stop) {
        malloc_info(0, null);
        mallinfo2();
    }
    fclose(null);
    return unused;
}

static void *flushes_everything(void *unused)
{
    while (!stop)
        fflush(NULL), usleep(10);
    return unused;
}

static void child_opens_a_stream(void *unused)
{
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    CHECK(fprintf(stream, "%d", 12345) == 5);
    fclose(stream);
    CHECK(strcmp(text, "12345") == 0);
    free(text);
    (void)unused;
}

/* Locks of streams and of the heap are taken in either order by these threads while another one forks. */
static void tst_malloc_fork_deadlock(void)
{
    pthread_t threads[4];
    void *(*const lives[])(void *) = {writes_to_memory, asks_for_figures, flushes_everything,
                                      writes_to_memory};
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, lives[i], NULL) == 0);
    for (size_t i = 0; i < trap_times(150, 5000); i++)
        REQUIRE(trap_child(child_opens_a_stream, NULL, 15));
    stop = 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* --- tst-mallocfork, -2, -3: a signal's handler forks ----------------------------------------------- */

static volatile int forks_done;
static void handler_forks(int number)
{
    int saved = errno, status = 0;
    (void)number;
    pid_t pid = fork();
    if (pid == 0)
        _exit(42);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    CHECK(pid > 0 && WEXITSTATUS(status) == 42);
    forks_done++;
    errno = saved;
}

static pid_t start_sender(int number, unsigned pause)
{
    pid_t me = getpid(), pid = fork();
    if (pid == 0) {
        while (getppid() == me && kill(me, number) == 0)
            usleep(pause);
        _exit(0);
    }
    return pid;
}

static void end_sender(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void handler_does_nothing(int number)
{
    (void)number;
}

static void tst_mallocfork(void)
{
    struct sigaction action = {.sa_handler = handler_forks, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = handler_does_nothing;
    sigaction(SIGUSR2, &action, NULL);
    pid_t senders[] = {start_sender(SIGUSR1, 800), start_sender(SIGUSR2, 300)};
    unsigned seed = 4;
    for (int wanted = (int)trap_times(150, 3000); forks_done < wanted;) {
        void *p[16];
        for (int i = 0; i < 16; i++)
            p[i] = malloc(trap_random(&seed) % (i ? 2000 : 400000));
        for (int i = 0; i < 16; i++)
            free(p[i]);
    }
    end_sender(senders[0]), end_sender(senders[1]);
}

/* -3: the thread that forks is not in its handler, others are in the allocator, and signals come all the time. */
static void *allocates(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    while (!stop)
        free(malloc(trap_random(&seed) % 3000));
    return NULL;
}

static void tst_mallocfork3(void)
{
    struct sigaction action = {.sa_handler = handler_does_nothing, .sa_flags = SA_RESTART};
    pthread_t threads[2];
    sigaction(SIGUSR2, &action, NULL);
    pid_t sender = start_sender(SIGUSR2, 100);
    for (uintptr_t i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, allocates, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < trap_times(150, 3000); i++)
        REQUIRE(trap_child(child_opens_a_stream, NULL, 15));
    stop = 1;
    pthread_join(threads[0], NULL), pthread_join(threads[1], NULL);
    end_sender(sender);
}

/* --- wrong frees: tst-tcfree1, -2, -3, tst-safe-linking, tst-malloc-backtrace ------------------------ */

static void *volatile hidden;

static void frees_twice(void *size)
{
    hidden = malloc((size_t)size);
    free(hidden);
    free(hidden);
}

static void frees_twice_with_others_between(void *size)
{
    void *p[20];
    for (int i = 0; i < 20; i++)
        p[i] = malloc((size_t)size);
    for (int i = 0; i < 20; i++)
        free(p[i]);
    hidden = p[13];
    free(hidden);
}

static void writes_after_free(void *size)
{
    void *p[20];
    for (int i = 0; i < 20; i++)
        p[i] = malloc((size_t)size);
    for (int i = 0; i < 20; i++)
        free(p[i]);
    for (int i = 0; i < 20; i++)
        memset(p[i], 0x41 + i, 8);
    for (int i = 0; i < 5000; i++) /* until they are handed out again */
        hidden = malloc((size_t)size);
}

/* The child must end by SIGABRT. */
static bool is_caught(void (*crime)(void *), size_t size)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        crime((void *)size);
        _exit(0);
    }
    int status = trap_wait(pid, 10);
    return status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void tst_tcfree1(void)
{
    CHECK(is_caught(frees_twice, 32));
    CHECK(is_caught(frees_twice, 1000));
    CHECK(is_caught(frees_twice, 20000));
    CHECK(is_caught(frees_twice, 200000));
}

static void tst_tcfree2(void)
{
    CHECK(is_caught(frees_twice_with_others_between, 20));
    CHECK(is_caught(frees_twice_with_others_between, 500));
    CHECK(is_caught(frees_twice_with_others_between, 5000));
}

/* -3, -4: nothing is called a double free that is none, whatever the program wrote into its blocks. */
static void tst_tcfree3(void)
{
    for (int value = 0; value < 256; value++) {
        for (size_t size = 8; size < 3000; size = size * 2 + 8) {
            char *p = malloc(size), *q = malloc(size);
            memset(p, value, size);
            memcpy(q, p, size);
            free(p);
            char *again = malloc(size);
            memset(again, value, size);
            free(q), free(again);
        }
    }
}

/* A freed block's content copied over a live one must not look like a free block for ever. */
static void tst_tcfree4(void)
{
    for (int i = 0; i < 1000; i++) {
        char *p = malloc(64), *q = malloc(64), *r = malloc(64), copy[64];
        free(p);
        memcpy(copy, p, 64); /* the links as they are in a free block */
        p = malloc(64);
        memcpy(p, copy, 64);
        memcpy(q, copy, 64);
        free(q), free(p), free(r);
    }
}

static void tst_safe_linking(void)
{
    CHECK(is_caught(writes_after_free, 20));
    CHECK(is_caught(writes_after_free, 200));
}

/* The message about a wrong free may end in a handler that allocates: the heap must not be locked then. */
static void handler_walks_the_stack(int number)
{
    void *frames[30];
    (void)number;
    int count = backtrace(frames, 30);
    char **names = backtrace_symbols(frames, count);
    free(names);
    free(malloc(100000));
    _exit(count > 0 ? 7 : 8);
}

static void tst_malloc_backtrace(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, handler_walks_the_stack);
        (void)!freopen("/dev/null", "w", stderr);
        frees_twice((void *)32);
        _exit(0);
    }
    int status = trap_wait(pid, 10);
    CHECK(status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

const struct trap traps[] = {
    {"tst_malloc_thread_exit", tst_malloc_thread_exit, 60},
    {"tst_malloc_tcache_leak", tst_malloc_tcache_leak, 0},
    {"tst_malloc_thread_fail", tst_malloc_thread_fail, 60},
    {"tst_malloc_fork_deadlock", tst_malloc_fork_deadlock, 60},
    {"tst_mallocfork", tst_mallocfork, 15},
    {"tst_mallocfork3", tst_mallocfork3, 30},
    {"tst_tcfree1", tst_tcfree1, 0},
    {"tst_tcfree2", tst_tcfree2, 0},
    {"tst_tcfree3", tst_tcfree3, 0},
    {"tst_tcfree4", tst_tcfree4, 0},
    {"tst_safe_linking", tst_safe_linking, 0},
    {"tst_malloc_backtrace", tst_malloc_backtrace, 0},
    {0},
};
