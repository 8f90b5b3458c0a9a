/* SPDX-License-Identifier: MIT */
/*
 * Before main, and what the C library allocates for itself: IFUNC resolvers, constructors that run before the
 * preloaded library's, dlsym, keys, atfork and atexit handlers, pthread_getattr_np, backtrace.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

/* libtrap_early.so is needed by this program, and allocates in its own IFUNC resolver and constructor. */
extern void *early_block(int which);
extern int early_answer(void);

static void *own_blocks[3];

static void before_all(int count, char **words, char **environment)
{
    (void)count, (void)words, (void)environment;
    own_blocks[0] = calloc(1, 5000);
}
__attribute__((section(".preinit_array"), used)) static void (*const before[])(int, char **,
                                                                               char **) = {before_all};

__attribute__((constructor(101))) static void first_constructor(void)
{
    own_blocks[1] = strdup("a constructor's");
    setenv("SET_BY_A_CONSTRUCTOR", "yes", 1); /* environ moves into the heap */
    own_blocks[2] = realloc(malloc(10), 100000);
}

static void blocks_from_before_main_are_good(void)
{
    CHECK(early_answer() == 42);
    for (int i = 0; i < 3; i++) {
        char *p = early_block(i);
        CHECK(p != NULL && malloc_usable_size(p) >= 100);
        p = realloc(p, 10000);
        CHECK(p && p[0] == 'e' && p[99] == 'e');
        free(p);
    }
    CHECK(strcmp(own_blocks[1], "a constructor's") == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(own_blocks[i] && malloc_usable_size(own_blocks[i]) > 0);
        free(own_blocks[i]);
    }
    CHECK(strcmp(getenv("SET_BY_A_CONSTRUCTOR"), "yes") == 0);
    CHECK(unsetenv("SET_BY_A_CONSTRUCTOR") == 0 && clearenv() == 0);
    CHECK(setenv("A", "b", 1) == 0);
}

/* Another preloaded library, whose constructor runs before ours and starts threads and forks there. */
static void constructors_of_an_earlier_preload(void)
{
    CHECK(trap_shell("LD_PRELOAD=\"$PWD/libtrap_early.so $LD_PRELOAD\" EARLY_IS_BUSY=1 /bin/sh -c 'exit 5'",
                     20) == 5);
    CHECK(trap_shell("LD_PRELOAD=\"$LD_PRELOAD $PWD/libtrap_early.so\" EARLY_IS_BUSY=1 /bin/sh -c 'exit 5'",
                     20) == 5);
}

static void programs_with_odd_environments(void)
{
    CHECK(trap_shell("exec env -i LD_PRELOAD=\"$LD_PRELOAD\" /bin/true", 10) == 0);
    CHECK(trap_shell("exec env HEAPTALLY=nonsense=1:::=:record /bin/true 2>/dev/null", 10) == 0);
    CHECK(trap_shell("exec 0<&- 1>&- 2>&-; exec /bin/true", 10) == 0);
    CHECK(trap_shell("A=$(head -c 100000 /dev/zero | tr '\\0' x) /bin/true", 10) == 0);
}

/* --- what the C library allocates ------------------------------------------------------------------- */

static void *sees_a_dlsym_fail(void *unused)
{
    for (int i = 0; i < 50; i++) {
        char name[40];
        snprintf(name, sizeof(name), "no_such_name_%d", i);
        CHECK(dlsym(RTLD_DEFAULT, name) == NULL);
        const char *error = dlerror();
        CHECK(error && strstr(error, name) && dlerror() == NULL);
        CHECK(dlopen("/no/such/library.so", RTLD_NOW) == NULL);
        if (i % 2)
            CHECK(strstr(dlerror(), "library.so"));
    }
    return unused; /* with an error pending: freed at the thread's end */
}

static void failing_dlsym_and_dlerror(void)
{
    pthread_t thread;
    sees_a_dlsym_fail(NULL);
    for (int i = 0; i < 20; i++) {
        REQUIRE(pthread_create(&thread, NULL, sees_a_dlsym_fail, NULL) == 0);
        pthread_join(thread, NULL);
    }
}

static pthread_key_t keys[200];
static void *sets_keys(void *unused)
{
    for (int i = 0; i < 200; i++)
        CHECK(pthread_setspecific(keys[i], &keys[i]) == 0);
    for (int i = 0; i < 200; i++)
        CHECK(pthread_getspecific(keys[i]) == &keys[i]);
    return unused;
}

static void keys_past_32(void)
{
    pthread_t thread;
    for (int i = 0; i < 200; i++)
        REQUIRE(pthread_key_create(&keys[i], NULL) == 0);
    for (int i = 0; i < 100; i++) {
        REQUIRE(pthread_create(&thread, NULL, sets_keys, NULL) == 0);
        pthread_join(thread, NULL);
    }
    sets_keys(NULL);
}

static int handled;
static void handler_counts(void)
{
    free(malloc(100));
    handled++;
}

static void child_counts(void *unused)
{
    (void)unused;
    CHECK(handled == 200); /* 100 before the fork, 100 in the child */
}

static void a_hundred_atfork_handlers(void)
{
    for (int i = 0; i < 100; i++)
        REQUIRE(pthread_atfork(handler_counts, handler_counts, handler_counts) == 0);
    CHECK(trap_child(child_counts, NULL, 10));
    CHECK(handled == 200);
}

static int order;
static void at_exit_in_order(void)
{
    free(malloc(1000));
    if (++order == 100)
        _exit(6);
}

static void exits_with_handlers(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++)
        CHECK(atexit(at_exit_in_order) == 0);
    exit(1);
}

static void a_hundred_atexit_handlers(void)
{
    pid_t pid = fork();
    if (pid == 0)
        exits_with_handlers(NULL);
    CHECK(trap_wait(pid, 10) == 6 << 8);
}

static void *asks_for_attributes(void *unused)
{
    pthread_attr_t attributes;
    void *stack;
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstack(&attributes, &stack, &size) == 0 && size > 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
    return unused;
}

static void pthread_getattr_np_everywhere(void)
{
    pthread_t thread;
    for (int i = 0; i < 50; i++) {
        asks_for_attributes(NULL);
        REQUIRE(pthread_create(&thread, NULL, asks_for_attributes, NULL) == 0);
        pthread_join(thread, NULL);
    }
}

static void *walks_the_stack(void *unused)
{
    void *frames[20];
    int count = backtrace(frames, 20); /* loads libgcc_s the first time */
    char **names = backtrace_symbols(frames, count);
    CHECK(count > 1 && names && names[0]);
    free(names);
    return unused;
}

static void first_backtrace_in_a_thread(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, walks_the_stack, NULL) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    walks_the_stack(NULL);
}

/* --- static TLS ------------------------------------------------------------------------------------- */

/* Of every module, ours included: the sum is taken from each thread's stack. */
static int adds_tls(struct dl_phdr_info *info, size_t size, void *sum)
{
    (void)size;
    if (!strstr(info->dlpi_name, "libc.so") && strstr(info->dlpi_name, ".so"))
        for (int i = 0; i < info->dlpi_phnum; i++)
            if (info->dlpi_phdr[i].p_type == PT_TLS) {
                trap_say("%s: %zu bytes of TLS", info->dlpi_name, (size_t)info->dlpi_phdr[i].p_memsz);
                *(size_t *)sum += info->dlpi_phdr[i].p_memsz;
            }
    return 0;
}

static void static_tls_stays_small(void)
{
    size_t sum = 0;
    dl_iterate_phdr(adds_tls, &sum);
    CHECK(sum <= 256 || trap_is_recording()); /* libunwind brings its own */
}

/* The program's own, beside it, on every thread's stack. */
static __thread char big_tls[100000];
static __thread char *tls_block;

static void *uses_big_tls(void *unused)
{
    memset(big_tls, 1, sizeof(big_tls));
    CHECK(tls_block == NULL);
    tls_block = malloc(100);
    free(tls_block);
    return unused;
}

static void threads_with_large_tls(void)
{
    pthread_t thread;
    for (int i = 0; i < 100; i++) {
        REQUIRE(pthread_create(&thread, NULL, uses_big_tls, NULL) == 0);
        pthread_join(thread, NULL);
    }
}

const struct trap traps[] = {
    {"blocks_from_before_main_are_good", blocks_from_before_main_are_good, 0},
    {"constructors_of_an_earlier_preload", constructors_of_an_earlier_preload, 0},
    {"programs_with_odd_environments", programs_with_odd_environments, 0},
    {"failing_dlsym_and_dlerror", failing_dlsym_and_dlerror, 0},
    {"keys_past_32", keys_past_32, 0},
    {"a_hundred_atfork_handlers", a_hundred_atfork_handlers, 0},
    {"a_hundred_atexit_handlers", a_hundred_atexit_handlers, 0},
    {"pthread_getattr_np_everywhere", pthread_getattr_np_everywhere, 0},
    {"first_backtrace_in_a_thread", first_backtrace_in_a_thread, 0},
    {"static_tls_stays_small", static_tls_stays_small, 0},
    {"threads_with_large_tls", threads_with_large_tls, 0},
    {0},
};
