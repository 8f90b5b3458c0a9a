/* SPDX-License-Identifier: MIT */
/*
 * Programs that close the door behind themselves: after start, only mmap, munmap, mremap, madvise, mprotect,
 * futex and write. And kernels that say no: munmap, madvise, mremap that fail.
 */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

#define FILTER_MAX 64

struct filter {
    struct sock_filter code[FILTER_MAX];
    unsigned short length;
};

static void filter_add(struct filter *filter, struct sock_filter instruction)
{
    filter->code[filter->length++] = instruction;
}

/* A call of this number ends in `action`. */
static void filter_call(struct filter *filter, unsigned number, unsigned action)
{
    filter_add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    filter_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void filter_start(struct filter *filter)
{
    *filter = (struct filter){0};
    filter_add(filter,
               (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
}

/* For all threads: those that exist stay under it too. */
static void filter_install(struct filter *filter, unsigned otherwise)
{
    filter_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise));
    struct sock_fprog program = {filter->length, filter->code};
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        trap_skip("no seccomp filter here");
}

static const unsigned short our_calls[] = {SYS_mmap,     SYS_munmap, SYS_mremap, SYS_madvise,
                                           SYS_mprotect, SYS_futex,  SYS_write};

/* libunwind, which recording uses at a stack's first sight, asks for these. */
static const unsigned short recorders_calls[] = {SYS_rt_sigprocmask, SYS_getpid, SYS_gettid};

/* exit and exit_group end the check. */
static void only_our_calls(unsigned otherwise)
{
    struct filter filter;
    filter_start(&filter);
    for (size_t i = 0; i < sizeof(our_calls) / sizeof(our_calls[0]); i++)
        filter_call(&filter, our_calls[i], SECCOMP_RET_ALLOW);
    filter_call(&filter, SYS_exit, SECCOMP_RET_ALLOW);
    filter_call(&filter, SYS_exit_group, SECCOMP_RET_ALLOW);
    for (size_t i = 0; trap_is_recording() && i < sizeof(recorders_calls) / sizeof(recorders_calls[0]); i++)
        filter_call(&filter, recorders_calls[i], SECCOMP_RET_ALLOW);
    filter_install(&filter, otherwise);
}

/* --- work that needs nothing but memory --------------------------------------------------------------- */

#define SLOTS 256

static void work(unsigned seed, unsigned steps)
{
    static __thread struct {
        char *p;
        size_t size;
    } slots[SLOTS];
    for (unsigned i = 0; i < steps; i++) {
        unsigned at = trap_random(&seed) % SLOTS, kind = trap_random(&seed) % 512;
        size_t size = trap_random(&seed) % (kind == 0 ? 6000000 : kind < 8 ? 300000 : 3000);
        if (slots[at].p)
            CHECK(trap_is_filled(slots[at].p, slots[at].size < size ? slots[at].size : 0, at));
        if (kind % 4 == 0 && slots[at].p) {
            slots[at].p = realloc(slots[at].p, size + 1);
        } else {
            errno = 4711;
            free(slots[at].p);
            CHECK(errno == 4711);
            slots[at].p = kind % 4 == 1   ? calloc(1, size + 1)
                          : kind % 4 == 2 ? memalign(256, size + 1)
                                          : malloc(size + 1);
        }
        REQUIRE(slots[at].p != NULL);
        trap_fill(slots[at].p, size, at);
        slots[at].size = size;
    }
    for (int i = 0; i < SLOTS; i++)
        free(slots[i].p), slots[i].p = NULL;
}

static volatile int ready, go, ended; /* waited for by spinning, which needs no system call */
#define WORKERS 2

static void *starts_under_the_filter(void *argument)
{
    __atomic_add_fetch(&ready, 1, __ATOMIC_RELEASE);
    while (!go)
        continue;
    work((unsigned)(uintptr_t)argument, 4000);
    __atomic_add_fetch(&ended, 1, __ATOMIC_RELEASE);
    for (;;)
        continue;
    return NULL;
}

static void *worker(void *argument)
{
    free(malloc(10));
    return starts_under_the_filter(argument);
}

static void with_threads_under(unsigned otherwise)
{
    pthread_t thread;
    for (uintptr_t i = 1; i <= WORKERS; i++)
        REQUIRE(pthread_create(&thread, NULL, worker, (void *)i) == 0);
    free(malloc(100)); /* the library starts with the first call */
    while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < WORKERS)
        continue; /* a thread's own start needs more than our calls */
    only_our_calls(otherwise);
    go = 1;
    work(77, 8000);
    while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < WORKERS)
        continue;
    malloc_trim(0);
    mallinfo2();
    work(78, 5000);
    trap_end();
}

static void only_seven_calls_others_kill(void)
{
    with_threads_under(SECCOMP_RET_KILL_PROCESS);
}

static void only_seven_calls_others_are_eperm(void)
{
    with_threads_under(SECCOMP_RET_ERRNO | EPERM);
}

/* Waits by the C library's own clock calls are the vdso's. A thread's end comes under the filter too. */
static void *ends_under_the_filter(void *argument)
{
    work(5, 2000);
    __atomic_add_fetch(&ready, 1, __ATOMIC_RELEASE);
    while (!go)
        continue;
    work(6, 2000);
    __atomic_add_fetch(&ended, 1, __ATOMIC_RELEASE);
    return argument;
}

static void threads_end_under_the_filter(void)
{
    pthread_t thread;
    for (int i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&thread, NULL, ends_under_the_filter, NULL) == 0);
    while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < WORKERS)
        continue;                              /* a thread's own start needs more than our calls */
    only_our_calls(SECCOMP_RET_ERRNO | EPERM); /* the C library itself asks for rt_sigprocmask there */
    go = 1;
    while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < WORKERS)
        continue;
    for (int i = 0; i < 200; i++)
        work((unsigned)i, 200);
    trap_end();
}

static void first_calls_of_threads_under_the_filter(void)
{
    pthread_t thread;
    if (trap_is_recording())
        trap_skip("libunwind asks for more at a thread's first stack");
    for (uintptr_t i = 1; i <= WORKERS; i++)
        REQUIRE(pthread_create(&thread, NULL, starts_under_the_filter, (void *)i) == 0);
    while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < WORKERS)
        continue;
    only_our_calls(SECCOMP_RET_KILL_PROCESS);
    go = 1;
    while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < WORKERS)
        continue;
    trap_end();
}

/* --- kernel calls that fail ---------------------------------------------------------------------------- */

static void refuse(const unsigned *calls, unsigned count, int error)
{
    struct filter filter;
    filter_start(&filter);
    for (unsigned i = 0; i < count; i++)
        filter_call(&filter, calls[i], SECCOMP_RET_ERRNO | (unsigned)error);
    filter_install(&filter, SECCOMP_RET_ALLOW);
}

/* Nothing breaks, errno stays, and memory that could not be given back is used again. */
static void work_without_growing(void)
{
    for (unsigned i = 0; i < 8; i++)
        work(i, 2000);
    long before = trap_resident_kib();
    for (unsigned i = 0; i < 25; i++) {
        work(i, 2000);
        malloc_trim(0);
    }
    long after = trap_resident_kib();
    if (after - before > 150000)
        trap_say("%ld KiB before, %ld KiB after", before, after);
    CHECK(after - before < 150000); /* a set is some 30 MB */
}

static void munmap_fails(void)
{
    refuse((const unsigned[]){SYS_munmap}, 1, ENOMEM);
    work_without_growing();
}

static void munmap_is_forbidden(void)
{
    refuse((const unsigned[]){SYS_munmap}, 1, EPERM);
    work_without_growing();
}

static void madvise_fails(void)
{
    refuse((const unsigned[]){SYS_madvise}, 1, ENOMEM);
    work_without_growing();
}

static void mremap_fails(void)
{
    refuse((const unsigned[]){SYS_mremap}, 1, ENOMEM);
    work_without_growing();
}

static void munmap_madvise_and_mremap_fail(void)
{
    refuse((const unsigned[]){SYS_munmap, SYS_madvise, SYS_mremap, SYS_mprotect}, 4, EPERM);
    work_without_growing();
}

/* No more memory at all: what is there serves on, and calls say no. */
static void mmap_fails(void)
{
    static char *p[3000];
    for (int i = 0; i < 3000; i++)
        p[i] = malloc(1000);
    refuse((const unsigned[]){SYS_mmap, SYS_mremap, SYS_brk}, 3, ENOMEM);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3000; i++)
            free(p[i]);
        errno = 0;
        CHECK(malloc((size_t)64 << 20) == NULL && errno == ENOMEM);
        for (int i = 0; i < 3000; i++)
            CHECK((p[i] = malloc(1000)) != NULL);
        errno = 0;
        char *q = realloc(p[0], (size_t)64 << 20);
        CHECK(q == NULL && errno == ENOMEM);
    }
}

const struct trap traps[] = {
    {"only_seven_calls_others_kill", only_seven_calls_others_kill, 60},
    {"only_seven_calls_others_are_eperm", only_seven_calls_others_are_eperm, 60},
    {"first_calls_of_threads_under_the_filter", first_calls_of_threads_under_the_filter, 60},
    {"threads_end_under_the_filter", threads_end_under_the_filter, 60},
    {"munmap_fails", munmap_fails, 60},
    {"munmap_is_forbidden", munmap_is_forbidden, 60},
    {"madvise_fails", madvise_fails, 60},
    {"mremap_fails", mremap_fails, 60},
    {"munmap_madvise_and_mremap_fail", munmap_madvise_and_mremap_fail, 60},
    {"mmap_fails", mmap_fails, 0},
    {0},
};
