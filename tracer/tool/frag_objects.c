/* SPDX-License-Identifier: MIT */
#include "tracer/tool/frag_objects.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const allocators[] = {"jemalloc", "tcmalloc",        "mimalloc", "tbbmalloc", "snmalloc",
                                         "rpmalloc", "hardened_malloc", "hoard",    "libumem",   "scudo"};

static bool is_allocator(const char *name)
{
    for (size_t i = 0; i < sizeof(allocators) / sizeof(allocators[0]); i++)
        if (strstr(name, allocators[i]) != NULL)
            return true;
    return false;
}

void frag_objects_line(const char *line, struct frag_objects *ret)
{
    char name[256], path[4096];
    if (sscanf(line, " %255s => %4095s", name, path) != 2)
        return;
    if (strcmp(name, "libc.so.6") == 0 && path[0] == '/')
        snprintf(ret->libc, sizeof(ret->libc), "%s", path);
    else if (is_allocator(name) && ret->other[0] == '\0')
        snprintf(ret->other, sizeof(ret->other), "%s", name);
}

static void __attribute__((noreturn)) trace_child(const struct target *target, char **argv, int out)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, 0);
    dup2(out, 1);
    dup2(null, 2);
    setenv("LD_TRACE_LOADED_OBJECTS", "1", 1);
    unsetenv("HEAPTALLY");
    if (target->through_shell)
        execl("/bin/sh", "sh", (char *)NULL);
    else
        execv(target->path, argv);
    _exit(127);
}

static bool read_lines(int fd, struct frag_objects *ret)
{
    char *line = NULL;
    size_t size = 0;
    FILE *in = fdopen(fd, "r");
    if (in == NULL) {
        close(fd);
        return false;
    }
    while (getline(&line, &size, in) > 0)
        frag_objects_line(line, ret);
    free(line);
    fclose(in);
    return true;
}

bool frag_objects_read(const struct target *target, char **argv, struct frag_objects *ret)
{
    int pipes[2], status = 0;
    *ret = (struct frag_objects){0};
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0)
        trace_child(target, argv, pipes[1]);
    close(pipes[1]);
    if (pid < 0) {
        close(pipes[0]);
        return false;
    }
    bool read = read_lines(pipes[0], ret);
    waitpid(pid, &status, 0);
    return read && ret->libc[0] != '\0';
}

bool frag_objects_find(const char *name, char *ret, size_t size)
{
    static const char *const places[] = {"/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64",
                                         "/usr/local/lib", "/usr/lib"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char pattern[256];
        glob_t found;
        snprintf(pattern, sizeof(pattern), "%s/lib%s.so.[0-9]*", places[i], name);
        bool there = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
        if (there)
            snprintf(ret, size, "%s", found.gl_pathv[0]);
        globfree(&found);
        if (there)
            return true;
    }
    return false;
}
