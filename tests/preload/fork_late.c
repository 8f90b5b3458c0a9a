/* SPDX-License-Identifier: MIT */
/* When the library's fork handlers are registered, counted by lib_atfork.c: not before somebody needs them, once, and
 * before anybody else's. fork_late CASE: each case wants a process of its own. */
#include <dlfcn.h>
#include <pthread.h>
#include <pty.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"

#define THREADS 6

static bool at_once; /* this setting wants the handlers from the start */
static int (*registrations)(void);

/* So many of the program's own, and ours if they are due. */
static void expect_registered(bool ours, int own)
{
    EXPECT(registrations() == (ours || at_once) + own);
}

static void wait_for(pid_t pid)
{
    int status = -1;
    EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* --- a crowd that keeps the locks busy ----------------------------------------------------------------- */

static volatile int stop;
static pthread_t crowd[THREADS];

static void *busy(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!stop)
        free(malloc(rand_r(&seed) % 200000));
    return NULL;
}

static void crowd_start(void)
{
    stop = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&crowd[i], NULL, busy, (void *)(i + 1)) == 0);
}

static void crowd_stop(void)
{
    stop = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(crowd[i], NULL);
}

static void allocate(void)
{
    void *p[200];
    for (size_t i = 0; i < 200; i++)
        p[i] = malloc(i * 300);
    for (int i = 0; i < 200; i++)
        free(p[i]);
}

static _Noreturn void live_as_child(void)
{
    alarm(20);
    allocate();
    crowd_start();
    crowd_stop();
    _exit(expect_failures != 0);
}

/* --- the cases ------------------------------------------------------------------------------------------ */

static void nobody_forks(void)
{
    allocate();
    pid_t pid = vfork();
    if (pid == 0)
        _exit(0);
    wait_for(pid);
    expect_registered(false, 0);
}

static void the_first_fork(void)
{
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        expect_registered(true, 0);
        if (pid == 0)
            live_as_child();
        wait_for(pid);
    }
}

static void *finds_registered(void *arg)
{
    expect_registered(true, 0);
    return arg;
}

static void a_second_thread(void)
{
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        EXPECT(pthread_create(&thread, NULL, finds_registered, NULL) == 0);
        pthread_join(thread, NULL);
    }
}

static void *of_libc(const char *name)
{
    return dlsym(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), name);
}

static pthread_t thread_past_the_library(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = NULL;
    *(void **)&create = of_libc("pthread_create");
    EXPECT(create(&thread, NULL, run, arg) == 0);
    return thread;
}

static void *allocates(void *arg)
{
    expect_registered(false, 0);
    free(malloc(100));
    return finds_registered(arg);
}

static void a_thread_past_the_library(void)
{
    pthread_join(thread_past_the_library(allocates, NULL), NULL);
    pthread_join(thread_past_the_library(finds_registered, NULL), NULL);
}

/* Its first call is to free what another thread allocated. */
static void *frees(void *block)
{
    expect_registered(false, 0);
    free(block);
    return finds_registered(NULL);
}

static void a_thread_past_the_library_that_frees(void)
{
    pthread_join(thread_past_the_library(frees, malloc(100000)), NULL);
}

static void *forks_first(void *all)
{
    pthread_barrier_wait(all);
    pid_t pid = fork();
    if (pid == 0)
        live_as_child();
    wait_for(pid);
    return NULL;
}

static void all_threads_fork_first(void)
{
    pthread_barrier_t all;
    pthread_t threads[THREADS];
    pthread_barrier_init(&all, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        threads[i] = thread_past_the_library(forks_first, &all);
    expect_registered(false, 0);
    pthread_barrier_wait(&all);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    expect_registered(true, 0);
}

static int handler_runs;

static void handler_allocates(void)
{
    handler_runs++;
    allocate();
}

static void fork_with_handlers(int handlers)
{
    handler_runs = 0;
    pid_t pid = fork();
    EXPECT(handler_runs == 2 * handlers);
    if (pid == 0)
        live_as_child();
    wait_for(pid);
}

static void handlers_that_allocate(void)
{
    pthread_atfork(handler_allocates, handler_allocates, handler_allocates);
    expect_registered(true, 1);
    crowd_start();
    for (int i = 0; i < 20; i++)
        fork_with_handlers(1);
    pthread_atfork(handler_allocates, handler_allocates, handler_allocates);
    for (int i = 0; i < 20; i++)
        fork_with_handlers(2);
    crowd_stop();
    expect_registered(true, 2);
}

static void handlers_after_the_first_fork(void)
{
    fork_with_handlers(0);
    handlers_that_allocate();
}

/* lib_atfork.c's constructor has registered some. */
static void handlers_from_before_the_first_malloc(void)
{
    int (*early_runs)(void) = NULL;
    *(void **)&early_runs = dlsym(RTLD_DEFAULT, "atfork_early_runs");
    expect_registered(true, 1);
    crowd_start();
    for (int i = 1; i <= 20; i++) {
        fork_with_handlers(0);
        EXPECT(early_runs() == 2 * i);
    }
    crowd_stop();
}

static void handlers_that_go_with_their_library(void)
{
    for (int i = 0; i < 3; i++) {
        int runs = 0;
        void (*counts)(int *) = NULL;
        void *plugin = dlopen("./lib_atfork_plugin.so", RTLD_NOW);
        EXPECT(plugin != NULL);
        *(void **)&counts = dlsym(plugin, "plugin_counts");
        counts(&runs);
        expect_registered(true, i + 1);
        fork_with_handlers(0);
        EXPECT(runs == 2);
        dlclose(plugin);
        EXPECT(dlopen("./lib_atfork_plugin.so", RTLD_NOW | RTLD_NOLOAD) == NULL);
        fork_with_handlers(0);
        EXPECT(runs == 2);
    }
}

/* --- forks that the library does not see ---------------------------------------------------------------- */

static pid_t fork_past_the_library(void)
{
    pid_t (*fork_of_libc)(void) = NULL;
    *(void **)&fork_of_libc = of_libc("fork");
    return fork_of_libc();
}

static void past_the_library_of_one_thread(void)
{
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork_past_the_library();
        expect_registered(false, 0);
        if (pid == 0)
            live_as_child();
        wait_for(pid);
    }
}

static void past_the_library_in_a_crowd(void)
{
    crowd_start();
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork_past_the_library();
        if (pid == 0)
            live_as_child();
        wait_for(pid);
    }
    crowd_stop();
    expect_registered(true, 0);
}

/* daemon() ends the process that calls it: that is a child. The daemon answers through a pipe. */
static void the_first_daemon(void)
{
    int answer[2], bad = -1;
    EXPECT(pipe(answer) == 0);
    pid_t pid = fork_past_the_library();
    if (pid == 0) {
        crowd_start();
        if (daemon(1, 1) != 0)
            _exit(3);
        alarm(20);
        allocate();
        expect_registered(true, 0);
        write(answer[1], &expect_failures, sizeof(int));
        live_as_child();
    }
    wait_for(pid);
    EXPECT(read(answer[0], &bad, sizeof(int)) == sizeof(int) && bad == 0);
}

static void the_first_daemon_of_one_thread(void)
{
    pid_t pid = fork_past_the_library();
    if (pid == 0) {
        expect_registered(false, 0);
        if (daemon(1, 1) != 0)
            _exit(3);
        expect_registered(true, 0);
        live_as_child();
    }
    wait_for(pid);
}

/* Where there are no terminals to be had, nobody is the wiser. */
static void the_first_forkpty(void)
{
    int master;
    pid_t pid = forkpty(&master, NULL, NULL, NULL);
    expect_registered(true, 0);
    if (pid == 0)
        live_as_child();
    if (pid > 0)
        wait_for(pid);
    crowd_start();
    for (int i = 0; i < 20 && pid > 0; i++) {
        close(master);
        pid = forkpty(&master, NULL, NULL, NULL);
        if (pid == 0)
            live_as_child();
        if (pid > 0)
            wait_for(pid);
    }
    crowd_stop();
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"nobody", nobody_forks},
    {"fork", the_first_fork},
    {"thread", a_second_thread},
    {"thread_past", a_thread_past_the_library},
    {"thread_past_frees", a_thread_past_the_library_that_frees},
    {"at_once", all_threads_fork_first},
    {"handlers", handlers_that_allocate},
    {"handlers_after", handlers_after_the_first_fork},
    {"early", handlers_from_before_the_first_malloc},
    {"plugin", handlers_that_go_with_their_library},
    {"past", past_the_library_of_one_thread},
    {"past_crowd", past_the_library_in_a_crowd},
    {"daemon", the_first_daemon},
    {"daemon_alone", the_first_daemon_of_one_thread},
    {"forkpty", the_first_forkpty},
};

int main(int argc, char **argv)
{
    const char *settings = getenv("HEAPTALLY");
    at_once = settings && *settings;
    *(void **)&registrations = dlsym(RTLD_DEFAULT, "atfork_registrations");
    alarm(120);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) {
            if (strcmp(argv[1], "early") != 0)
                expect_registered(false, 0);
            cases[i].run();
            return expect_end();
        }
    }
    return 2;
}
