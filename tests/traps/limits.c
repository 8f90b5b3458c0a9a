/* SPDX-License-Identifier: MIT */
/* Programs under a limit: of address space, of data, of overcommit; NULL at the wall, and memory again behind it. */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trap.h"

#define MIB (1u << 20)

static void limit(int what, size_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    REQUIRE(setrlimit(what, &limit) == 0);
}

/* Blocks linked by their first word. The bytes taken until NULL, and the chain. */
struct chain {
    struct chain *next;
};

static size_t fill(size_t size, struct chain **chain)
{
    size_t taken = 0;
    struct chain *block;
    errno = 0;
    while (taken < (size_t)2 << 30 && (block = malloc(size)) != NULL) {
        block->next = *chain;
        *chain = block;
        taken += size;
    }
    CHECK(errno == ENOMEM);
    return taken;
}

static void drop(struct chain **chain)
{
    while (*chain) {
        struct chain *next = (*chain)->next;
        free(*chain);
        *chain = next;
    }
}

static void *does_nothing(void *argument)
{
    free(malloc(100));
    free(malloc(50000));
    return argument;
}

static bool a_thread_can_start(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, MIB);
    return pthread_create(&thread, &attributes, does_nothing, NULL) == 0 && pthread_join(thread, NULL) == 0;
}

/* Rounds of one size each: every size must find what the size before gave back. */
static void fill_and_free(size_t wall)
{
    static const size_t sizes[] = {100, 3000, 30000, 100000, MIB, 3 * MIB, 16, 1000, 20 * MIB, 100};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct chain *chain = NULL;
        size_t taken = fill(sizes[i], &chain);
        if (taken < wall / 2)
            trap_say("blocks of %zu bytes: only %zu KiB of %zu", sizes[i], taken >> 10, wall >> 10);
        CHECK(taken >= wall / 2);
        drop(&chain);
        void *p = malloc(wall / 3), *q = malloc(100);
        CHECK(p != NULL && q != NULL);
        free(p), free(q);
        CHECK(a_thread_can_start());
    }
}

static void freed_memory_serves_again_in_64_mib(void)
{
    limit(RLIMIT_AS, 64 * MIB);
    fill_and_free(40 * MIB);
}

static void freed_memory_serves_again_in_200_mib(void)
{
    limit(RLIMIT_AS, 200 * MIB);
    fill_and_free(150 * MIB);
}

/* Half of the blocks stay: what is left over still serves. */
static void every_other_block_freed(void)
{
    limit(RLIMIT_AS, 64 * MIB);
    struct chain *chain = NULL;
    fill(2000, &chain);
    size_t freed = 0;
    for (struct chain *at = chain; at && at->next; at = at->next) {
        struct chain *gone = at->next;
        at->next = gone->next;
        free(gone);
        freed += 2000;
    }
    struct chain *more = NULL;
    CHECK(fill(2000, &more) >= freed * 9 / 10);
    drop(&more), drop(&chain);
    CHECK(a_thread_can_start());
}

/* The wall once met, every call says so, and what exists stays usable. */
static void at_the_wall_every_call_is_enomem(void)
{
    limit(RLIMIT_AS, 64 * MIB);
    struct chain *big = NULL, *chain = NULL, *tiny = NULL;
    char *kept = malloc(5000);
    trap_fill(kept, 5000, 1);
    fill(MIB, &big), fill(1000, &chain), fill(16, &tiny);
    errno = 0;
    CHECK(realloc(kept, 30 * MIB) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(1, 30 * MIB) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(memalign(4096, 30 * MIB) == NULL && errno == ENOMEM);
    void *p = NULL;
    CHECK(posix_memalign(&p, 64, 30 * MIB) == ENOMEM && p == NULL);
    CHECK(trap_is_filled(kept, 5000, 1));
    kept = realloc(kept, 100);
    CHECK(kept != NULL);
    drop(&big), drop(&chain), drop(&tiny);
    p = realloc(kept, 20 * MIB);
    CHECK(p != NULL);
    free(p);
}

/* What a child at the wall frees is its own again too. */
static void child_frees_and_allocates(void *chain)
{
    drop(chain);
    void *p = malloc(20 * MIB);
    CHECK(p != NULL);
    free(p);
    CHECK(a_thread_can_start());
}

static void fork_at_the_wall(void)
{
    limit(RLIMIT_AS, 64 * MIB);
    struct chain *chain = NULL;
    fill(1000, &chain);
    CHECK(trap_child(child_frees_and_allocates, &chain, 10));
    child_frees_and_allocates(&chain);
}

static void threads_fail_to_start_at_the_wall(void)
{
    limit(RLIMIT_AS, 64 * MIB);
    for (int i = 0; i < 5; i++) {
        struct chain *big = NULL, *chain = NULL;
        fill(300000, &big), fill(2000, &chain);
        a_thread_can_start(); /* or not: a hole may be left that is large enough */
        drop(&big), drop(&chain);
        CHECK(a_thread_can_start());
    }
}

static void data_limit_of_64_mib(void)
{
    limit(RLIMIT_DATA, 64 * MIB);
    fill_and_free(40 * MIB);
}

/* A limit that leaves next to nothing: it works, or says no; it does not die. */
static void tiny_limits(void)
{
    for (unsigned kib = 4000; kib <= 16000; kib += 1000) {
        char command[200];
        snprintf(command, sizeof(command), "env -u LD_PRELOAD sh -c 'ulimit -v %u; exec /bin/true'", kib);
        bool alone = trap_shell(command, 10) == 0;
        snprintf(command, sizeof(command), "ulimit -v %u; exec /bin/true", kib);
        int with = trap_shell(command, 10);
        if (alone && with != 0)
            trap_say("ulimit -v %u: exit code %d, and 0 without the library", kib, with);
        CHECK(!alone || with == 0 || kib < 7000); /* the library itself takes room */
    }
}

static void python_in_64_mib(void)
{
    CHECK(trap_shell("ulimit -v 65536; exec python3 -c 'a = [str(i) * 3 for i in range(100000)]; del a; "
                     "b = bytearray(10 << 20); print(len(b))'",
                     30) == 0);
    CHECK(trap_shell("ulimit -v 65536; exec python3 -c '\n"
                     "import sys\n"
                     "for i in range(3):\n"
                     "    a = []\n"
                     "    try:\n"
                     "        while True: a.append(bytearray(100000))\n"
                     "    except MemoryError: n = len(a)\n"
                     "    del a\n"
                     "    if n < 250: sys.exit(3)\n"
                     "'",
                     30) == 0);
}

/* As root only, since it is the machine's: strict accounting for the while of one check. */
static void without_overcommit(void)
{
    char before[4] = "";
    int fd = open("/proc/sys/vm/overcommit_memory", O_RDWR);
    if (!trap_is_long() || fd < 0 || read(fd, before, 2) < 1)
        trap_skip("changes the machine's overcommit: with --long, and as root");
    CHECK(pwrite(fd, "2", 1, 0) == 1);
    void *most = malloc((size_t)1 << 42), *some = malloc(30 * MIB);
    struct chain *chain = NULL;
    for (int i = 0; i < 100000; i++) {
        struct chain *block = malloc(200);
        block->next = chain, chain = block;
    }
    drop(&chain);
    CHECK(pwrite(fd, before, 1, 0) == 1);
    CHECK(most == NULL && some != NULL);
}

const struct trap traps[] = {
    {"freed_memory_serves_again_in_64_mib", freed_memory_serves_again_in_64_mib, 0},
    {"freed_memory_serves_again_in_200_mib", freed_memory_serves_again_in_200_mib, 0},
    {"every_other_block_freed", every_other_block_freed, 0},
    {"at_the_wall_every_call_is_enomem", at_the_wall_every_call_is_enomem, 0},
    {"fork_at_the_wall", fork_at_the_wall, 0},
    {"threads_fail_to_start_at_the_wall", threads_fail_to_start_at_the_wall, 0},
    {"data_limit_of_64_mib", data_limit_of_64_mib, 0},
    {"tiny_limits", tiny_limits, 0},
    {"python_in_64_mib", python_in_64_mib, 0},
    {"without_overcommit", without_overcommit, 0},
    {0},
};
