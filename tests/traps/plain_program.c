/* SPDX-License-Identifier: MIT */
/* A small healthy program, also built static and for musl: under any preload it must do its work. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *works(void *unused)
{
    for (int i = 0; i < 5000; i++) {
        char *p = malloc((size_t)i), *q = calloc(1, 100), *r = strdup("text");
        p = realloc(p, (size_t)i * 2 + 1);
        free(p), free(q), free(r);
    }
    return unused;
}

int main(void)
{
    pthread_t thread;
    int status = 1;
    works(NULL);
    if (pthread_create(&thread, NULL, works, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        works(NULL);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    char *big = malloc((size_t)40 << 20);
    memset(big, 1, 5000);
    free(big);
    puts("done");
    return status;
}
