/* SPDX-License-Identifier: MIT */
/* fork, vfork and posix_spawn in threaded programs: children malloc, free the parent's blocks, start threads, fork again. */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

#define CHILD_SECONDS 20
#define INHERITED     64
#define BUSY          3

extern char **environ;
static volatile int stop;

/* Small, span-sized and mapped blocks, some passed on to be freed by the others. */
static void *volatile post_box[32];

static void *busy(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    void *slots[64] = {0};
    while (!stop) {
        unsigned i = trap_random(&seed) % 64, kind = trap_random(&seed) % 256;
        size_t size = trap_random(&seed) % (kind == 0 ? 3000000u : kind < 16 ? 100000u : 3000u);
        free(slots[i]);
        slots[i] = malloc(size);
        if (kind % 4 == 0)
            slots[i] = __atomic_exchange_n(&post_box[i % 32], slots[i], __ATOMIC_ACQ_REL);
    }
    for (int i = 0; i < 64; i++)
        free(slots[i]);
    return NULL;
}

static void crowd_start(pthread_t *threads)
{
    for (uintptr_t i = 0; i < BUSY; i++)
        REQUIRE(pthread_create(&threads[i], NULL, busy, (void *)(i + 1)) == 0);
}

static void crowd_stop(pthread_t *threads)
{
    stop = 1;
    for (int i = 0; i < BUSY; i++)
        pthread_join(threads[i], NULL);
}

/* --- what a child does ---------------------------------------------------------------------------- */

struct legacy {
    void *block[INHERITED];
    size_t size[INHERITED];
    unsigned generations; /* that still have children of their own */
};

static void legacy_fill(struct legacy *legacy)
{
    for (unsigned i = 0; i < INHERITED; i++) {
        legacy->size[i] = i % 16 == 0 ? 50000 : i * 37;
        legacy->block[i] = malloc(legacy->size[i]);
        trap_fill(legacy->block[i], legacy->size[i], i);
    }
}

static void legacy_free(struct legacy *legacy)
{
    for (unsigned i = 0; i < INHERITED; i++) {
        CHECK(trap_is_filled(legacy->block[i], legacy->size[i], i));
        free(legacy->block[i]);
    }
}

static void *childs_thread(void *argument)
{
    for (int i = 0; i < 300; i++)
        free(malloc((size_t)i * 20));
    free(argument);
    return malloc(100);
}

/* What the vanished threads had posted is the child's to free now. */
static void take_post(void)
{
    for (int i = 0; i < 32; i++)
        free(__atomic_exchange_n(&post_box[i], NULL, __ATOMIC_ACQ_REL));
}

static void live_as_child(void *argument)
{
    struct legacy *legacy = argument;
    pthread_t thread;
    void *result;
    legacy_free(legacy);
    take_post();
    for (int i = 0; i < 500; i++)
        free(malloc((size_t)i * i % 7000));
    REQUIRE(pthread_create(&thread, NULL, childs_thread, malloc(40)) == 0);
    pthread_join(thread, &result);
    free(result);
    if (legacy->generations == 0)
        return;
    legacy->generations--;
    legacy_fill(legacy);
    REQUIRE(trap_child(live_as_child, legacy, CHILD_SECONDS));
}

static void storm(size_t forks)
{
    for (size_t i = 0; i < forks; i++) {
        struct legacy legacy = {.generations = i % 10 == 0 ? 2 : 0};
        legacy_fill(&legacy);
        REQUIRE(trap_child(live_as_child, &legacy, CHILD_SECONDS));
        legacy_free(&legacy);
    }
}

static void handler_allocates(void)
{
    free(malloc(333));
    free(malloc(50000));
}

static void storm_in_a_threaded_program(void)
{
    pthread_t threads[BUSY];
    crowd_start(threads);
    storm(trap_times(300, 50000));
    crowd_stop(threads);
}

static void storm_with_allocating_fork_handlers(void)
{
    pthread_t threads[BUSY];
    for (int i = 0; i < 3; i++)
        pthread_atfork(handler_allocates, handler_allocates, handler_allocates);
    crowd_start(threads);
    storm(trap_times(150, 25000));
    crowd_stop(threads);
}

static void *storms(void *unused)
{
    storm(trap_times(100, 8000));
    return unused;
}

/* fork in several threads at once. */
static void storms_of_three_threads_at_once(void)
{
    pthread_t threads[BUSY];
    for (int i = 0; i < BUSY; i++)
        REQUIRE(pthread_create(&threads[i], NULL, storms, NULL) == 0);
    for (int i = 0; i < BUSY; i++)
        pthread_join(threads[i], NULL);
}

/* The child of a child of a child, each leaving threads in the middle of malloc behind: nothing may add up. */
static void generation(void *argument)
{
    uintptr_t left = (uintptr_t)argument;
    pthread_t threads[BUSY];
    crowd_start(threads);
    usleep(2000);
    CHECK(trap_resident_kib() < 100000);
    if (left > 0)
        REQUIRE(trap_child(generation, (void *)(left - 1), CHILD_SECONDS * 3));
}

static void twelve_generations(void)
{
    generation((void *)trap_times(12, 300));
}

/* --- children that share memory ------------------------------------------------------------------- */

static void vfork_and_spawn_among_threads(void)
{
    pthread_t threads[BUSY];
    crowd_start(threads);
    for (size_t i = 0; i < trap_times(100, 3000); i++) {
        char *arguments[] = {(char *)(uintptr_t) "true", NULL};
        pid_t pid;
        int status = -1;
        REQUIRE(posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ) == 0);
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        void *volatile p = NULL;
        pid = vfork();
        if (pid == 0) {
            p = malloc(500); /* in the parent's memory, as its thread */
            _exit(7);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
        free(p);
    }
    FILE *pipe = popen("echo from a child", "r");
    char text[30] = "";
    CHECK(pipe && fgets(text, sizeof(text), pipe) && strcmp(text, "from a child\n") == 0);
    CHECK(pipe && pclose(pipe) == 0);
    CHECK(system("exit 3") == 3 << 8);
    crowd_stop(threads);
}

/* --- a program that forks in a signal handler ----------------------------------------------------- */

static volatile int forked;

static void handler_forks(int number)
{
    int saved = errno, status;
    (void)number;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    CHECK(pid > 0 && status == 0);
    forked++;
    errno = saved;
}

/* Single-threaded: glibc's own tests ask for it. */
static void fork_in_a_handler_that_met_malloc(void)
{
    struct sigaction action = {.sa_handler = handler_forks, .sa_flags = SA_RESTART};
    int wanted = (int)trap_times(200, 5000), me = getpid();
    sigaction(SIGUSR1, &action, NULL);
    pid_t sender = fork();
    if (sender == 0) {
        while (getppid() == me && kill(me, SIGUSR1) == 0)
            usleep(1000);
        _exit(0);
    }
    unsigned seed = 3;
    void *slots[64] = {0};
    while (forked < wanted) {
        unsigned i = trap_random(&seed) % 64;
        free(slots[i]);
        slots[i] = malloc(trap_random(&seed) % (i ? 3000 : 500000));
    }
    kill(sender, SIGKILL);
    waitpid(sender, NULL, 0);
}

/* --- ids that are not what they seem: heaps of the living are nobody else's ------------------------------ */

#define CROWD 20

static pthread_barrier_t crowd_stands;

/* Two that use one heap at the same time would soon be told. */
static void churn(unsigned seed)
{
    struct {
        char *p;
        size_t size;
    } slots[64] = {0};
    for (int i = 0; i < 20000; i++) {
        unsigned at = trap_random(&seed) % 64;
        if (slots[at].p)
            CHECK(trap_is_filled(slots[at].p, slots[at].size, at));
        free(slots[at].p);
        slots[at].size = trap_random(&seed) % 200;
        slots[at].p = malloc(slots[at].size);
        trap_fill(slots[at].p, slots[at].size, at);
    }
    for (int i = 0; i < 64; i++)
        free(slots[i].p);
}

static volatile int crowd_is_sent;

/* The first ones only have a heap each; those that come when heaps are looked for use theirs all the time. */
static void *stands_in_crowd(void *argument)
{
    int number = *(int *)argument;
    free(argument);
    free(malloc(500)); /* now it has a heap */
    pthread_barrier_wait(&crowd_stands);
    while (!crowd_is_sent) {
        if (number < CROWD - 8)
            usleep(1000);
        else
            churn((unsigned)number);
    }
    return malloc(300);
}

/* So many threads at once, twice, that the heaps of vanished threads are looked for. */
static void crowd_comes_and_goes(void)
{
    pthread_t threads[CROWD];
    void *result;
    for (int round = 0; round < 2; round++) {
        crowd_is_sent = 0;
        pthread_barrier_init(&crowd_stands, NULL, CROWD + 1);
        for (int i = 0; i < CROWD; i++) {
            int *number = malloc(sizeof(*number));
            *number = i;
            REQUIRE(pthread_create(&threads[i], NULL, stands_in_crowd, number) == 0);
        }
        pthread_barrier_wait(&crowd_stands);
        for (unsigned i = 0; i < 15; i++)
            churn(i);
        crowd_is_sent = 1;
        for (int i = 0; i < CROWD; i++)
            pthread_join(threads[i], &result), free(result);
    }
}

static void holds_blocks_through(void (*what)(void))
{
    struct legacy mine = {0}, more = {0};
    legacy_fill(&mine);
    what();
    legacy_fill(&more);
    legacy_free(&mine), legacy_free(&more);
}

/* Its first allocation is its vfork child's, with whose id the heap must not be remembered. */
static void *vforks_first(void *unused)
{
    void *volatile p = NULL;
    pid_t pid = vfork();
    if (pid == 0) {
        p = malloc(100);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    free(p);
    holds_blocks_through(crowd_comes_and_goes);
    return unused;
}

static void heap_first_used_by_a_vfork_child(void)
{
    pthread_t thread;
    free(malloc(10));
    REQUIRE(pthread_create(&thread, NULL, vforks_first, NULL) == 0);
    pthread_join(thread, NULL);
}

/* The child has the parent's id in its memory still, and the parent's may end and be given to another. */
static void *forks_raw(void *unused)
{
    struct legacy before = {0};
    pid_t process = getpid(), self = (pid_t)syscall(SYS_gettid);
    legacy_fill(&before);
    pid_t pid = (pid_t)syscall(SYS_fork);
    if (pid == 0) {
        if (syscall(SYS_fork) != 0) /* the grandchild's ids are of threads that have ended */
            syscall(SYS_exit_group, 0);
        while (syscall(SYS_tgkill, process, self, 0) == 0)
            usleep(1000);
        holds_blocks_through(crowd_comes_and_goes);
        legacy_free(&before);
        trap_end();
    }
    CHECK(trap_wait(pid, CHILD_SECONDS) == 0);
    legacy_free(&before);
    return unused;
}

static void raw_fork_of_a_thread_with_a_heap(void)
{
    pthread_t thread;
    int status;
    free(malloc(10));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    REQUIRE(pthread_create(&thread, NULL, forks_raw, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(wait(&status) > 0 && status == 0);
}

/* Raw SYS_fork runs no handlers. Where the program has one thread, nothing can be half done. */
static void raw_fork_of_a_single_thread(void)
{
    struct legacy legacy = {0};
    for (int i = 0; i < 50; i++) {
        legacy_fill(&legacy);
        pid_t pid = (pid_t)syscall(SYS_fork);
        if (pid == 0) {
            legacy_free(&legacy);
            for (int j = 0; j < 500; j++)
                free(malloc((size_t)j * 20));
            trap_end();
        }
        CHECK(trap_wait(pid, CHILD_SECONDS) == 0);
        legacy_free(&legacy);
    }
}

/* The C library's fork by its handle: an interposed one does not see it. */
static void fork_by_the_c_librarys_handle(void)
{
    pid_t (*fork_of_libc)(void) = NULL;
    struct legacy before = {0};
    *(void **)&fork_of_libc = dlsym(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), "fork");
    REQUIRE(fork_of_libc != NULL);
    legacy_fill(&before);
    pid_t pid = fork_of_libc();
    if (pid == 0) {
        holds_blocks_through(crowd_comes_and_goes);
        legacy_free(&before);
        trap_end();
    }
    CHECK(trap_wait(pid, CHILD_SECONDS) == 0);
    legacy_free(&before);
}

const struct trap traps[] = {
    {"storm_in_a_threaded_program", storm_in_a_threaded_program, 90},
    {"storm_with_allocating_fork_handlers", storm_with_allocating_fork_handlers, 90},
    {"storms_of_three_threads_at_once", storms_of_three_threads_at_once, 90},
    {"twelve_generations", twelve_generations, 60},
    {"vfork_and_spawn_among_threads", vfork_and_spawn_among_threads, 60},
    {"fork_in_a_handler_that_met_malloc", fork_in_a_handler_that_met_malloc, 15},
    {"heap_first_used_by_a_vfork_child", heap_first_used_by_a_vfork_child, 0},
    {"raw_fork_of_a_thread_with_a_heap", raw_fork_of_a_thread_with_a_heap, 0},
    {"raw_fork_of_a_single_thread", raw_fork_of_a_single_thread, 0},
    {"fork_by_the_c_librarys_handle", fork_by_the_c_librarys_handle, 0},
    {0},
};
