/* SPDX-License-Identifier: MIT */
/*
 * Libraries opened at run time: bound past us (RTLD_DEEPBIND), in a namespace of their own (dlmopen), by the caller's
 * RUNPATH, beside threads that allocate; and programs that bring their own malloc.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include "trap.h"

/* What libtrap_deep.so offers: blocks that the C library allocates for it. */
struct deep {
    char *(*copy)(const char *);
    char *(*format)(int);
    char *(*line)(const char *);
    char *(*path)(void);
    void (*release)(void *);
};

static void *function(void *handle, const char *name)
{
    void *p = dlsym(handle, name);
    REQUIRE(p != NULL);
    return p;
}

static void *deep_open(struct deep *deep, void *handle)
{
    if (!handle)
        trap_say("%s", dlerror());
    REQUIRE(handle != NULL);
    deep->copy = (char *(*)(const char *))function(handle, "deep_copy");
    deep->format = (char *(*)(int))function(handle, "deep_format");
    deep->line = (char *(*)(const char *))function(handle, "deep_line");
    deep->path = (char *(*)(void))function(handle, "deep_path");
    deep->release = (void (*)(void *))function(handle, "deep_release");
    return handle;
}

/* Blocks go both ways: what the library got is freed here, what is allocated here is freed there. */
static void exchange_blocks(const struct deep *deep)
{
    for (int i = 0; i < 300; i++) {
        char *copy = deep->copy("copied by strdup"), *text = deep->format(i),
             *line = deep->line("a line\nand another\n"), *path = deep->path();
        CHECK(strcmp(copy, "copied by strdup") == 0 && atoi(text) == i && strcmp(line, "a line\n") == 0 &&
              path[0] == '/');
        CHECK(malloc_usable_size(copy) >= 17);
        copy = realloc(copy, 5000);
        CHECK(copy && strcmp(copy, "copied by strdup") == 0);
        free(copy), free(text), free(line), free(path);
        deep->release(malloc((size_t)i * 100));
        deep->release(memalign(256, 1000));
    }
}

static void deepbind_library_shares_the_heap(void)
{
    struct deep deep;
    void *handle = deep_open(&deep, dlopen("./libtrap_deep.so", RTLD_NOW | RTLD_DEEPBIND));
    exchange_blocks(&deep);
    CHECK(dlclose(handle) == 0);
    deep_open(&deep, dlopen("./libtrap_deep.so", RTLD_LAZY | RTLD_GLOBAL | RTLD_DEEPBIND));
    exchange_blocks(&deep);
}

static void *opens_and_exchanges(void *unused)
{
    struct deep deep;
    deep_open(&deep, dlopen("./libtrap_deep.so", RTLD_NOW | RTLD_DEEPBIND));
    exchange_blocks(&deep);
    return unused;
}

static void deepbind_in_a_thread(void)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, opens_and_exchanges, NULL) == 0);
    pthread_join(thread, NULL);
}

/* A library linked with a RUNPATH opens another by its bare name. */
static void callers_runpath_counts(void)
{
    void *handle = dlopen("./libtrap_opener.so", RTLD_NOW);
    REQUIRE(handle != NULL);
    void *(*open_inner)(int) = (void *(*)(int))function(handle, "open_inner");
    CHECK(open_inner(RTLD_NOW) != NULL);
    CHECK(open_inner(RTLD_NOW | RTLD_DEEPBIND) != NULL);
}

static void flags_of_dlopen_still_count(void)
{
    CHECK(dlopen("./libtrap_deep.so", RTLD_NOW | RTLD_NOLOAD) == NULL);
    void *handle = dlopen("./libtrap_deep.so", RTLD_LAZY);
    CHECK(handle != NULL && dlsym(RTLD_DEFAULT, "deep_copy") == NULL);
    CHECK(dlopen("./libtrap_deep.so", RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL) == handle);
    CHECK(dlsym(RTLD_DEFAULT, "deep_copy") != NULL);
    CHECK(dlopen(NULL, RTLD_NOW) != NULL && dlopen("./libtrap_deep.so", 0) == NULL);
    CHECK(dlerror() != NULL);
}

/* Its C library is a second one; what it allocates may reach our free, and ours may not reach its. */
static void other_namespace_lives_beside_us(void)
{
    struct deep deep;
    void *handle = dlmopen(LM_ID_NEWLM, "./libtrap_deep.so", RTLD_NOW);
    if (!handle)
        trap_skip(dlerror());
    deep_open(&deep, handle);
    for (int i = 0; i < 300; i++) {
        char *copy = deep.copy("from the other side");
        CHECK(strcmp(copy, "from the other side") == 0);
        deep.release(copy);
        free(deep.format(i)); /* left alone, with one note */
        free(malloc((size_t)i * 20));
    }
    CHECK(dlclose(handle) == 0);
}

static void *namespace_in_thread(void *unused)
{
    other_namespace_lives_beside_us();
    return unused;
}

static void other_namespace_in_a_thread(void)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, namespace_in_thread, NULL) == 0);
    pthread_join(thread, NULL);
}

static volatile int stop;
static void *allocates(void *unused)
{
    while (!stop)
        free(malloc(100)), free(malloc(40000));
    return unused;
}

static void opening_and_closing_beside_allocation(void)
{
    pthread_t threads[3];
    struct deep deep;
    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, allocates, NULL) == 0);
    for (size_t i = 0; i < trap_times(100, 5000); i++) {
        void *handle =
            deep_open(&deep, dlopen("./libtrap_deep.so", i % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_DEEPBIND));
        char *left = deep.copy("outlives its library");
        CHECK(dlclose(handle) == 0);
        CHECK(strcmp(left, "outlives its library") == 0);
        free(left);
    }
    stop = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

/* As ctypes does it: by the C library's handle, past every replacement. Its blocks go back to it. */
static void c_librarys_own_malloc(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    void *(*their_malloc)(size_t) = (void *(*)(size_t))function(libc, "malloc");
    void (*their_free)(void *) = (void (*)(void *))function(libc, "free");
    for (size_t size = 1; size < 3000000; size = size * 3 + 7) {
        char *p = their_malloc(size), *q = their_malloc(size), *r = their_malloc(size);
        memset(p, 1, size);
        CHECK(malloc_usable_size(p) >= size);
        free(p);
        q[0] = 'q';
        q = realloc(q, size * 2);
        CHECK(q && q[0] == 'q');
        free(q);
        their_free(r);
    }
}

/* --- programs ---------------------------------------------------------------------------------------- */

/* Debian's opens its extensions with RTLD_DEEPBIND: this is what aborts under the others. */
static void php_runs(void)
{
    if (trap_shell("env -u LD_PRELOAD php -v >/dev/null 2>&1", 20) != 0)
        trap_skip("no php here");
    CHECK(
        trap_shell(
            "exec php -r '$a = []; for ($i = 0; $i < 50000; $i++) $a[] = str_repeat(\"x\", $i % 500); "
            "if (count($a) != 50000 || strlen(implode(\"\", $a)) != 12475000) exit(3); echo json_encode([1, "
            "[2, 3]]); "
            "preg_match_all(\"/a(b)c/\", str_repeat(\"abc\", 1000), $m); if (count($m[1]) != 1000) exit(4);'",
            30) == 0);
}

/* A malloc of the program's own comes before ours, for the C library too. As in glibc's tst-interpose programs. */
static void program_with_a_malloc_of_its_own(void)
{
    CHECK(trap_shell("exec ./own_malloc", 20) == 0);
    CHECK(trap_shell("exec ./own_malloc threads", 20) == 0);
}

static void statically_linked_program(void)
{
    CHECK(trap_shell("[ ! -e static_program ] || exec ./static_program", 20) == 0);
    CHECK(trap_shell("[ ! -e static_own_malloc ] || exec ./static_own_malloc threads", 20) == 0);
}

/* A libc that is not glibc: what is missing there ends the program with 127 before it begins. */
static void dynamic_musl_program(void)
{
    if (access("musl_program", X_OK) != 0)
        trap_skip("no musl-gcc here");
    CHECK(trap_shell("exec ./musl_program", 20) == 0);
}

static void set_uid_program(void)
{
    if (access("/bin/su", X_OK) != 0)
        trap_skip("no set-uid program here");
    CHECK(trap_shell("exec /bin/su --version >/dev/null", 20) == 0);
}

const struct trap traps[] = {
    {"deepbind_library_shares_the_heap", deepbind_library_shares_the_heap, 0},
    {"deepbind_in_a_thread", deepbind_in_a_thread, 0},
    {"callers_runpath_counts", callers_runpath_counts, 0},
    {"flags_of_dlopen_still_count", flags_of_dlopen_still_count, 0},
    {"other_namespace_lives_beside_us", other_namespace_lives_beside_us, 0},
    {"other_namespace_in_a_thread", other_namespace_in_a_thread, 0},
    {"opening_and_closing_beside_allocation", opening_and_closing_beside_allocation, 0},
    {"c_librarys_own_malloc", c_librarys_own_malloc, 0},
    {"php_runs", php_runs, 60},
    {"program_with_a_malloc_of_its_own", program_with_a_malloc_of_its_own, 0},
    {"statically_linked_program", statically_linked_program, 0},
    {"dynamic_musl_program", dynamic_musl_program, 0},
    {"set_uid_program", set_uid_program, 0},
    {0},
};
