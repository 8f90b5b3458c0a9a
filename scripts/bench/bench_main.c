/* SPDX-License-Identifier: MIT */
/*
 * bench_main.c - one workload, once.
 *
 *   bench NAME       does the work; exit code 0 when all went well, and nothing is printed
 *   bench --list     name and what it is, by a tabulator
 */
#include "bench.h"

static const struct workload *const tables[] = {
    random_workloads, thread_workloads, share_workloads, tree_workloads,
    shape_workloads,  large_workloads,  call_workloads,
};

#define TABLES (sizeof(tables) / sizeof(tables[0]))

void run_threads(unsigned threads, void *(*body)(void *), void *tasks, size_t stride)
{
    pthread_t ids[64];
    char *task = tasks;

    if (threads == 1) {
        body(task);
        return;
    }
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, body, task + i * stride) != 0)
            checked(NULL);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

static void list_workloads(void)
{
    for (size_t t = 0; t < TABLES; t++)
        for (const struct workload *w = tables[t]; w->name; w++)
            printf("%s\t%s\n", w->name, w->what);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list_workloads();
        return 0;
    }
    for (size_t t = 0; t < TABLES; t++) {
        for (const struct workload *w = tables[t]; argc == 2 && w->name; w++) {
            if (strcmp(argv[1], w->name) == 0) {
                w->run(w);
                return 0;
            }
        }
    }
    fprintf(stderr, "usage: bench NAME | --list\n");
    return 2;
}
