/* SPDX-License-Identifier: MIT */
/* dlopen: RTLD_DEEPBIND is harmless, the caller's RUNPATH counts, a module can go and come back; dlmopen;
 * libc's own heap. */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include "expect.h"

static void deepbind_is_harmless(void)
{
    void *handle = dlopen("./lib_deep.so", RTLD_NOW | RTLD_DEEPBIND);
    EXPECT(handle != NULL);
    if (!handle)
        return;
    char *(*copy)(const char *) = (char *(*)(const char *))dlsym(handle, "deep_copy");
    void *program_break = sbrk(0);
    for (int i = 0; i < 100; i++) {
        char *p = copy("a text that is copied");
        EXPECT(strcmp(p, "a text that is copied") == 0);
        p = realloc(p, 500);
        free(p);
    }
    EXPECT(sbrk(0) == program_break); /* the C library's own heap would have begun there */
    dlclose(handle);
}

static void callers_runpath_counts(void)
{
    void *handle = dlopen("./lib_opener.so", RTLD_NOW);
    EXPECT(handle != NULL);
    if (!handle)
        return;
    void *(*open_inner)(void) = (void *(*)(void))dlsym(handle, "open_inner");
    void *inner = open_inner();
    if (!inner)
        fprintf(stderr, "%s\n", dlerror());
    EXPECT(inner != NULL);
    EXPECT(dlopen("libinner_that_is_not_there.so", RTLD_NOW) == NULL && dlerror() != NULL);
    if (inner)
        dlclose(inner);
    dlclose(handle);
}

static void modules_come_and_go(void)
{
    for (int i = 0; i < 50; i++) {
        void *handle = dlopen("./lib_deep.so", RTLD_NOW);
        char *(*copy)(const char *) = (char *(*)(const char *))dlsym(handle, "deep_copy");
        char *p = copy("left behind");
        dlclose(handle);
        free(p);
    }
}

static volatile int stop;
static void *allocates(void *arg)
{
    while (!stop)
        free(malloc(100));
    return arg;
}

static void opening_beside_allocation(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, allocates, NULL);
    modules_come_and_go();
    stop = 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* As ctypes does: the functions of the C library by its handle, past every replacement. */
static void c_librarys_own_blocks_go_back_to_it(void)
{
    void *handle = dlopen("libc.so.6", RTLD_NOW);
    void *(*their_malloc)(size_t) = (void *(*)(size_t))dlsym(handle, "malloc");
    static const size_t sizes[] = {1, 24, 100, 5000, 100000, 200000, 5000000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *p = their_malloc(sizes[i]), *q = their_malloc(sizes[i]);
        memset(p, 'p', sizes[i]);
        EXPECT(malloc_usable_size(p) >= sizes[i]);
        free(p);
        char *again = their_malloc(sizes[i]);
        EXPECT(sizes[i] > 1000 ||
               again == p); /* it really went back: small ones are handed out last in, first out */
        free(again);
        q[0] = 'q';
        q = realloc(q, sizes[i] * 2);
        EXPECT(q && q[0] == 'q');
        free(q);
    }
    dlclose(handle);
}

static void *in_thread(void *arg)
{
    c_librarys_own_blocks_go_back_to_it();
    return arg;
}

static void other_namespace_does_not_end_us(void)
{
    void *handle = dlmopen(LM_ID_NEWLM, "./lib_deep.so", RTLD_NOW);
    EXPECT(handle != NULL);
    if (!handle)
        return;
    char *(*copy)(const char *) = (char *(*)(const char *))dlsym(handle, "deep_copy");
    for (int i = 0; i < 10; i++)
        free(copy("from the other side"));
}

int main(void)
{
    pthread_t thread;
    deepbind_is_harmless();
    callers_runpath_counts();
    modules_come_and_go();
    opening_beside_allocation();
    c_librarys_own_blocks_go_back_to_it();
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    other_namespace_does_not_end_us();
    return expect_end();
}
