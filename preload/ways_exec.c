/* SPDX-License-Identifier: MIT */
/*
 * exec is a way out too: what the old program lost is gone with it. The check comes first, when the call
 * looks as if it would succeed; should it fail all the same, the program goes on and a later check replaces
 * this one.
 *
 * All are system calls but two, which have work of their own in the C library (the search of PATH with its
 * shell scripts without a first line, and descriptors on old kernels); those are looked up by the
 * constructor, since a vfork child may not take the loader's lock. vfork children come through here all the
 * time: freeze_check() knows them by their number and does nothing. posix_spawn, system and popen do not come
 * here at all.
 */
#include "preload/freeze.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload/face.h"
#include "preload/kernel.h"
#include "preload/preload.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

typedef int exec_search(const char *file, char *const argv[], char *const envp[]);
typedef int exec_descriptor(int fd, char *const argv[], char *const envp[]);

/* Written by the constructor, or by a call before it; the same value from everybody. */
static exec_search *real_execvpe;
static exec_descriptor *real_fexecve;

__attribute__((constructor)) static void find_real(void)
{
    thread_enter();
    real_execvpe = (exec_search *)dlsym(RTLD_NEXT, "execvpe");
    real_fexecve = (exec_descriptor *)dlsym(RTLD_NEXT, "fexecve");
    thread_leave();
}

/* --- will it succeed? ----------------------------------------------------------------------------------- */

static bool may_run(int fd, const char *path)
{
    struct stat st;
    return kernel_call4(SYS_newfstatat, fd, (long)path, (long)&st, 0) == 0 && S_ISREG(st.st_mode) &&
           kernel_call(SYS_faccessat, fd, (long)path, X_OK) == 0;
}

/* A file of that name in one of the folders of PATH. */
static bool may_run_from_path(const char *file)
{
    const char *folder = getenv("PATH");
    char path[PATH_MAX];
    folder = folder ? folder : "/bin:/usr/bin";
    for (;;) {
        size_t length = strcspn(folder, ":");
        if (length + strlen(file) + 2 <= sizeof(path)) {
            memcpy(path, folder, length);
            path[length] = '\0';
            size_t at = length ? text_add(path, sizeof(path), length, "/") : 0;
            text_add(path, sizeof(path), at, file);
            if (may_run(AT_FDCWD, path))
                return true;
        }
        if (!folder[length])
            return false;
        folder += length + 1;
    }
}

static bool wants_check(void)
{
    return settings_get()->exit_check && freeze_is_ours();
}

static void check_before(bool will_succeed)
{
    if (will_succeed)
        freeze_check(WIRE_AT_EXEC, 0);
    if (face_state.recording)
        record_end(RECORD_EXECS, true);
}

static int failed_after_all(int result)
{
    if (face_state.recording)
        record_end(RECORD_GOES_ON, true);
    return result;
}

/* --- the calls ------------------------------------------------------------------------------------------ */

static int result_of(long result)
{
    errno = (int)-result; /* exec returns only to fail */
    return failed_after_all(-1);
}

static int run_path(const char *path, char *const argv[], char *const envp[])
{
    check_before(wants_check() && may_run(AT_FDCWD, path));
    return result_of(kernel_call(SYS_execve, (long)path, (long)argv, (long)envp));
}

static int run_search(const char *file, char *const argv[], char *const envp[])
{
    if (!real_execvpe)
        find_real();
    check_before(wants_check() && (strchr(file, '/') ? may_run(AT_FDCWD, file) : may_run_from_path(file)));
    return failed_after_all(real_execvpe(file, argv, envp));
}

EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
    return run_path(path, argv, envp);
}

EXPORT int execv(const char *path, char *const argv[])
{
    return run_path(path, argv, environ);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
    return run_search(file, argv, envp);
}

EXPORT int execvp(const char *file, char *const argv[])
{
    return run_search(file, argv, environ);
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
    struct stat st;
    if (!real_fexecve)
        find_real();
    check_before(wants_check() && kernel_call(SYS_fstat, fd, (long)&st, 0) == 0 && (st.st_mode & 0111));
    return failed_after_all(real_fexecve(fd, argv, envp));
}

EXPORT int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
    check_before(wants_check() && ((flags & AT_EMPTY_PATH && !*path) || may_run(fd, path)));
    return result_of(kernel_call6(SYS_execveat, fd, (long)path, (long)argv, (long)envp, flags, 0));
}

/* --- with the arguments as a list ----------------------------------------------------------------------- */

/* How many there are in front of the NULL. */
static size_t count_arguments(va_list *list)
{
    size_t count = 0;
    while (va_arg(*list, const char *))
        count++;
    return count;
}

/* Fills argv with `first`, the list and its NULL; the list then stands behind that. */
static void take_arguments(const char *first, va_list *list, char **argv, size_t count)
{
    argv[0] = (char *)(uintptr_t)first; /* exec does not write there; its type is older than const */
    for (size_t i = 1; i <= count + 1; i++)
        argv[i] = va_arg(*list, char *);
}

EXPORT int execl(const char *path, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    size_t count = count_arguments(&list);
    va_end(list);
    char *argv[count + 2];
    va_start(list, first);
    take_arguments(first, &list, argv, count);
    va_end(list);
    return run_path(path, argv, environ);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    size_t count = count_arguments(&list);
    va_end(list);
    char *argv[count + 2];
    va_start(list, first);
    take_arguments(first, &list, argv, count);
    va_end(list);
    return run_search(file, argv, environ);
}

EXPORT int execle(const char *path, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    size_t count = count_arguments(&list);
    va_end(list);
    char *argv[count + 2];
    va_start(list, first);
    take_arguments(first, &list, argv, count);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return run_path(path, argv, envp);
}
