/* SPDX-License-Identifier: MIT */
#include "tracer/tool/launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/tool/say.h"

#define LIBRARY "libheaptally.so"

/* --- the library
 * ------------------------------------------------------------------------------------------------- */

static bool is_there(const char *path)
{
    return access(path, R_OK) == 0;
}

bool launch_find_library(char *ret, size_t size, char *error, size_t error_size)
{
    static const char *const places[] = {"%s/" LIBRARY, "%s/../lib/heaptally/" LIBRARY};
    char self[4096], path[4200];
    bool found = false;

    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    int unread = n > 0 ? 0 : errno;
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    for (unsigned i = 0; slash && !found && i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(path, sizeof(path), places[i], self);
        found = is_there(path);
    }
    if (!found) {
        snprintf(path, sizeof(path), "%s/" LIBRARY, HEAPTALLY_LIBDIR);
        found = is_there(path);
    }
    char *real = found ? realpath(path, NULL) : NULL;
    if (!real && !slash)
        snprintf(error, error_size, "/proc/self/exe cannot be read: %s (heaptally needs /proc)",
                 strerror(unread));
    else if (!real)
        snprintf(error, error_size,
                 LIBRARY " is neither beside the command, nor in ../lib/heaptally, nor in %s",
                 HEAPTALLY_LIBDIR);
    else if (strpbrk(real, " :"))
        snprintf(error, error_size,
                 "%s: the loader takes no LD_PRELOAD with a space or ':' in its path; move it", real);
    else if ((size_t)snprintf(ret, size, "%s", real) < size) {
        free(real);
        return true;
    }
    free(real);
    return false;
}

/* --- the environment
 * ---------------------------------------------------------------------------------------------- */

static bool is_variable(const char *item, const char *name)
{
    size_t length = strlen(name);
    return strncmp(item, name, length) == 0 && item[length] == '=';
}

static const char *value_in(char *const *base, const char *name)
{
    for (; *base; base++)
        if (is_variable(*base, name))
            return *base + strlen(name) + 1;
    return "";
}

/* The user's own settings without what would turn this run off or send it to a heaptally round us. */
static void append_settings(FILE *out, const char *settings)
{
    while (*settings) {
        size_t length = strcspn(settings, ":");
        bool ours = strncmp(settings, "socket=", 7) == 0 || strncmp(settings, "record=", 7) == 0 ||
                    strncmp(settings, "account=", 8) == 0;
        if (length && !ours)
            fprintf(out, ":%.*s", (int)length, settings);
        settings += length + (settings[length] == ':');
    }
}

static void write_environment(FILE *out, char *const *base, const char *library, const char *settings)
{
    const char *preload = value_in(base, "LD_PRELOAD");
    for (char *const *p = base; *p; p++)
        if (!is_variable(*p, "LD_PRELOAD") && !is_variable(*p, "HEAPTALLY"))
            fprintf(out, "%s%c", *p, '\0');
    if (*library || *preload)
        fprintf(out, "LD_PRELOAD=%s%s%s%c", library, *preload ? ":" : "", preload, '\0');
    fprintf(out, "HEAPTALLY=%s", settings);
    append_settings(out, value_in(base, "HEAPTALLY"));
    putc('\0', out);
}

char **launch_environment(char *const *base, const char *library, const char *settings)
{
    char *text = NULL;
    size_t size, count = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    write_environment(out, base, library, settings);
    bool bad = ferror(out);
    if (fclose(out) != 0 || bad) {
        free(text);
        return NULL;
    }
    for (size_t i = 0; i < size; i++)
        count += text[i] == '\0';
    char **list = malloc((count + 1) * sizeof(*list) + size);
    if (list) {
        char *copy = memcpy((char *)(list + count + 1), text, size);
        for (size_t i = 0; i < count; i++, copy += strlen(copy) + 1)
            list[i] = copy;
        list[count] = NULL;
    }
    free(text);
    return list;
}

/* --- the child
 * ------------------------------------------------------------------------------------------------------ */

static void raise_file_limit(struct launch *launch)
{
    getrlimit(RLIMIT_NOFILE, &launch->files);
    struct rlimit more = launch->files;
    more.rlim_cur = more.rlim_max; /* a connection per process, and some run thousands */
    setrlimit(RLIMIT_NOFILE, &more);
}

bool launch_prepare(struct launch *launch)
{
    static const int signals[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t ours;

    *launch = (struct launch){.gate = -1, .signal_fd = -1};
    sigemptyset(&ours);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&ours, signals[i]);
    sigprocmask(SIG_BLOCK, &ours, &launch->mask);
    sigaction(SIGCHLD, &action,
              &launch->child_action); /* inherited as ignored, it would take our wait status away */
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action,
              &launch->pipe_action); /* a reader of our stderr that goes away ends us no more than a run */
    sigaction(SIGXFSZ, &action, &launch->size_action); /* a file size limit is told as any failed write */
    raise_file_limit(launch);
    launch->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    return launch->signal_fd >= 0;
}

/* As execvp: what has no format goes to the shell. Returns only when it failed. */
static void exec_target(const struct target *target, char **argv, char **environment)
{
    if (!target->through_shell)
        execve(target->path, argv, environment);
    if (target->through_shell || errno == ENOEXEC) {
        size_t count = 0;
        while (argv[count])
            count++;
        char *list[count + 2];
        list[0] = argv[0];
        list[1] = strdup(target->path);
        memcpy(list + 2, argv + 1, count * sizeof(*argv)); /* with the NULL at the end */
        execve("/bin/sh", list, environment);
    }
}

static void __attribute__((noreturn)) child_main(const struct launch *launch, int gate,
                                                 const struct target *target, char **argv, char **environment)
{
    char go;
    sigaction(SIGCHLD, &launch->child_action, NULL);
    sigaction(SIGPIPE, &launch->pipe_action, NULL);
    sigaction(SIGXFSZ, &launch->size_action, NULL);
    setrlimit(RLIMIT_NOFILE, &launch->files);
    for (int i = 0; launch->standard && i < 3; i++)
        dup2(launch->standard[i], i);
    if (read(gate, &go, 1) == 1) {
        sigprocmask(SIG_SETMASK, &launch->mask, NULL);
        exec_target(target, argv, environment);
        int why = errno;
        (void)!write(gate, &why, sizeof(why));
    }
    _exit(EXIT_CANNOT_RUN);
}

bool launch_start(struct launch *launch, const struct target *target, char **argv, char **environment)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    launch->pid = fork();
    if (launch->pid == 0) {
        close(pair[0]); /* so that we do not wait for ever when the parent dies */
        child_main(launch, pair[1], target, argv, environment);
    }
    close(pair[1]);
    if (launch->pid < 0) {
        close(pair[0]);
        return false;
    }
    launch->gate = pair[0];
    return true;
}

enum tool_exit launch_go(struct launch *launch, const char *path)
{
    int why = 0;
    ssize_t n = 0;
    if (write(launch->gate, "g", 1) == 1) {
        do
            n = read(launch->gate, &why, sizeof(why)); /* the exec closes its end */
        while (n < 0 && errno == EINTR);
    }
    close(launch->gate);
    launch->gate = -1;
    if (n != sizeof(why))
        return EXIT_OK; /* running; or killed before it ran, and the wait status tells */
    waitpid(launch->pid, NULL, 0);
    say("%s cannot be run: %s", path, strerror(why));
    return why == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}
