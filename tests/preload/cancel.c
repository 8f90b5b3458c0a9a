/* SPDX-License-Identifier: MIT */
/* Threads that are cancelled asynchronously in the middle of the allocator, while others go on in it. */
#include <pthread.h>
#include <unistd.h>

#include "expect.h"

static volatile int stop;
static volatile long calls;

static void churn(unsigned *seed)
{
    static const size_t sizes[4] = {40, 900, 60000, 3 << 20};
    void *p = malloc(sizes[rand_r(seed) % 64 == 0 ? 3 : rand_r(seed) % 3]);
    p = realloc(p, 50 + rand_r(seed) % 50000);
    free(p);
    calls++;
}

static void *until_cancelled(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    EXPECT(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0);
    for (;;)
        churn(&seed);
}

static void *until_stopped(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!stop)
        churn(&seed);
    return NULL;
}

static void the_old_type_is_told(void)
{
    int old = -1;
    EXPECT(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old) == 0 && old == PTHREAD_CANCEL_DEFERRED);
    free(malloc(100));
    free(malloc(100000));
    EXPECT(pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &old) == 0 && old == PTHREAD_CANCEL_ASYNCHRONOUS);
    EXPECT(pthread_setcanceltype(17, &old) == EINVAL);
    free(malloc(100));
}

int main(void)
{
    pthread_t other, victim;
    void *result;
    the_old_type_is_told();
    pthread_create(&other, NULL, until_stopped, (void *)1);
    for (uintptr_t i = 0; i < 1000; i++) {
        pthread_create(&victim, NULL, until_cancelled, (void *)i);
        if (i % 3)
            usleep(i % 97);
        else
            for (long now = calls; calls < now + 2;)
                ;
        EXPECT(pthread_cancel(victim) == 0);
        EXPECT(pthread_join(victim, &result) == 0 && result == PTHREAD_CANCELED);
    }
    stop = 1;
    pthread_join(other, NULL);
    return expect_end();
}
