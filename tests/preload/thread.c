/* SPDX-License-Identifier: MIT */
/* Threads: many short ones, tiny stacks, all keys taken, destructors that allocate, an end by pthread_exit of
 * main. */
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "expect.h"

#define SHORT_THREADS 20000

static long resident_kib(void)
{
    long pages = 0, total = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &total, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return pages * 4;
}

static void *short_life(void *arg)
{
    void *p = malloc(1000);
    memset(p, 1, 1000);
    free(p);
    free(arg);
    return malloc(50); /* freed by another thread after this one's end */
}

static void run_short(int count)
{
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        void *result;
        EXPECT(pthread_create(&thread, NULL, short_life, malloc(70)) == 0);
        pthread_join(thread, &result);
        free(result);
    }
}

static void short_threads_leave_nothing(void)
{
    run_short(200);
    long before = resident_kib();
    run_short(SHORT_THREADS);
    long after = resident_kib();
    EXPECT(after - before < 4096);
    if (after - before >= 4096)
        fprintf(stderr, "resident: %ld KiB before, %ld KiB after\n", before, after);
}

static pthread_key_t keys[PTHREAD_KEYS_MAX];
static int key_count, destroyed;

/* Allocates in every round there is. */
static void destroy(void *value)
{
    free(value);
    void *again = malloc(100);
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
    if (pthread_setspecific(keys[key_count - 1], again) != 0)
        free(again);
}

static void *takes_keys(void *arg)
{
    for (int i = 0; i < key_count; i++)
        pthread_setspecific(keys[i], malloc(24));
    return arg;
}

static void all_keys_taken(void)
{
    pthread_t thread;
    while (key_count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[key_count], destroy) == 0)
        key_count++;
    EXPECT(key_count > 900);
    for (int i = 0; i < 50; i++) {
        EXPECT(pthread_create(&thread, NULL, takes_keys, NULL) == 0);
        pthread_join(thread, NULL);
    }
    EXPECT(destroyed >= 50 * key_count);
    for (int i = 0; i < key_count; i++)
        pthread_key_delete(keys[i]);
}

static void *tiny_life(void *arg)
{
    for (int i = 0; i < 100; i++) {
        void *p = malloc((size_t)i * 40);
        p = realloc(p, 3000);
        free(p);
    }
    return arg;
}

static void tiny_stacks_suffice(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    EXPECT(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, &attributes, tiny_life, NULL) == 0);
        pthread_join(thread, NULL);
    }
    pthread_attr_destroy(&attributes);
}

static void *ends_the_process(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
    free(malloc(100));
    exit(expect_end());
}

int main(void)
{
    static pthread_t self, last;
    short_threads_leave_nothing();
    tiny_stacks_suffice();
    all_keys_taken();
    self = pthread_self();
    if (pthread_create(&last, NULL, ends_the_process, &self) != 0)
        return 1;
    pthread_exit(NULL);
}
