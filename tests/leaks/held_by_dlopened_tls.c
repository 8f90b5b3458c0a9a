/* SPDX-License-Identifier: MIT */
/*
 * held_by_dlopened_tls.c - a thread variable of a library opened at run time is the only pointer, in a thread
 * and in main.
 *
 * plugin: tls_plugin
 * total:
 */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "leak.h"

static sem_t ready;

static void (*keep)(void);

static void *worker(void *arg)
{
    keep();
    scrub();
    sem_post(&ready);
    for (;;)
        pause();
    return arg;
}

int main(void)
{
    void *library = dlopen("tls_plugin.so", RTLD_NOW);

    if (!library)
        return 1;
    keep = (void (*)(void))dlsym(library, "plugin_keep");
    pthread_t t;
    sem_init(&ready, 0, 0);
    pthread_create(&t, NULL, worker, NULL);
    sem_wait(&ready);
    keep();
    scrub();
    return 0;
}
