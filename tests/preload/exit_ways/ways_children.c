/* SPDX-License-Identifier: MIT */
/* ways_children.c - exec, children, and descriptors that are not what they were. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/preload/exit_ways/ways.h"

/* --- exec ----------------------------------------------------------------------------------------------------- */

extern char **environ;
static char *again[] = {"ways", "return3", NULL};

static int by_execl(void)
{
    return execl(self, "ways", "return3", (char *)NULL);
}
static int by_execlp(void)
{
    return execlp(self, "ways", "return3", (char *)NULL);
}
static int by_execle(void)
{
    return execle(self, "ways", "return3", (char *)NULL, environ);
}
static int by_execv(void)
{
    return execv(self, again);
}
static int by_execve(void)
{
    return execve(self, again, environ);
}
static void path_to_self(void)
{
    char path[4096];
    *strrchr(self, '/') = '\0';
    snprintf(path, sizeof(path), "/nonexistent:%s:/bin", self);
    setenv("PATH", path, 1);
}
static int by_execvp(void)
{
    path_to_self();
    return execvp("ways", again);
}
static int by_execvpe(void)
{
    path_to_self();
    return execvpe("ways", again, environ);
}
static int by_fexecve(void)
{
    return fexecve(open(self, O_RDONLY | O_CLOEXEC), again, environ);
}
static int by_execveat(void)
{
    return execveat(AT_FDCWD, self, again, environ, 0);
}
static int exec_nothing(void)
{
    if (execl("/nonexistent", "x", (char *)NULL) != -1 || errno != ENOENT)
        return 99;
    if (execvp("ways-does-not-exist", again) != -1 || errno != ENOENT)
        return 98;
    if (execv("/", again) != -1 || errno != EACCES)
        return 97;
    return 3;
}
static int exec_fails(void)
{
    char name[] = "/tmp/heaptally-ways-junk-XXXXXX";
    int fd = mkstemp(name);
    if (write(fd, "\177ELFjunk", 8) != 8)
        return 96;
    fchmod(fd, 0700);
    close(fd);
    int result = execv(name, again), error = errno;
    unlink(name);
    return result == -1 && error == ENOEXEC ? 3 : 95;
}

/* --- children --------------------------------------------------------------------------------------------------- */

static int wait_for(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        return 99;
    ms(50);
    return WEXITSTATUS(status);
}
static int fork_child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        exit(5);
    return wait_for(pid);
}
static int fork_fork(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(fork_child());
    return wait_for(pid);
}
static int vfork_exit(void)
{
    pid_t pid = vfork();
    if (pid == 0)
        _exit(5);
    return wait_for(pid);
}
static int vfork_exec(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execl(self, "ways", "return3", (char *)NULL);
        _exit(99);
    }
    return wait_for(pid);
}
static int spawned(void)
{
    pid_t pid;
    if (posix_spawn(&pid, self, NULL, NULL, again, environ) != 0)
        return 98;
    return wait_for(pid);
}
static int raw_fork(void)
{
    pid_t pid = (pid_t)syscall(SYS_fork);
    if (pid == 0)
        exit(5);
    return wait_for(pid);
}
static int fork_in_threads(void)
{
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0)
            syscall(SYS_exit_group, 0);
        waitpid(pid, NULL, 0);
    }
    return 0;
}
static void *forks(void *unused)
{
    (void)unused;
    for (;;)
        fork_in_threads();
}
static int exit_while_forking(void)
{
    start(forks, NULL);
    ms(100);
    return 0;
}

/* They have the lock in turn that an exit needs. Who waits for the C library's lock of streams then, in its own fork, cannot be
 * parked: how many do differs. */
static int exit_while_all_fork(void)
{
    for (int i = 0; i < 4; i++)
        start(forks, NULL);
    ms(100);
    return 0;
}

/* --- descriptors --------------------------------------------------------------------------------------------------- */

static int closed_all(void)
{
    close_range(3, ~0u, 0);
    return 3;
}
static int nonblocking_all(void)
{
    for (int fd = 3; fd < 1100; fd++)
        fcntl(fd, F_SETFL, O_NONBLOCK);
    map_page(); /* more to send than a socket holds */
    return 3;
}
/* Every number is something else now; nothing may be written into it. */
static int reused_all(void)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
        return 99;
    for (int fd = ends[1] + 1; fd < 1100; fd++)
        dup2(ends[1], fd);
    pid_t pid = fork();
    if (pid == 0)
        exit(3);
    int code = wait_for(pid);
    char c;
    return read(ends[0], &c, 1) == -1 && errno == EAGAIN ? code : 98;
}

const struct way ways_children[] = {WAY(by_execl),
                                    WAY(by_execlp),
                                    WAY(by_execle),
                                    WAY(by_execv),
                                    WAY(by_execve),
                                    WAY(by_execvp),
                                    WAY(by_execvpe),
                                    WAY(by_fexecve),
                                    WAY(by_execveat),
                                    WAY(exec_nothing),
                                    WAY(exec_fails),
                                    WAY(fork_child),
                                    WAY(fork_fork),
                                    WAY(vfork_exit),
                                    WAY(vfork_exec),
                                    WAY(spawned),
                                    WAY(raw_fork),
                                    WAY(exit_while_forking),
                                    WAY(exit_while_all_fork),
                                    WAY(closed_all),
                                    WAY(nonblocking_all),
                                    WAY(reused_all),
                                    {NULL, NULL}};
