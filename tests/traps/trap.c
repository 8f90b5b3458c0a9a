/* SPDX-License-Identifier: MIT */
#include "trap.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SKIPPED         77
#define SECONDS_DEFAULT 30u
#define TOLD_MAX        1500 /* bytes of a failed check's own words that are shown */

static volatile int failures; /* any thread; only "some or none" counts */

/* --- inside a check ------------------------------------------------------------------------------- */

void trap_say(const char *format, ...)
{
    char text[400];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(text, sizeof(text) - 1, format, list);
    va_end(list);
    length = length < (int)sizeof(text) - 1 ? length : (int)sizeof(text) - 2;
    text[length++] = '\n';
    (void)!write(STDERR_FILENO, text, (size_t)length);
}

void trap_complain(const char *file, int line, const char *what, int error)
{
    const char *slash = strrchr(file, '/');
    if (failures++ < 20)
        trap_say("%s:%d: not so: %s (errno %d)", slash ? slash + 1 : file, line, what, error);
}

void trap_skip(const char *why)
{
    trap_say("%s", why);
    _exit(SKIPPED);
}

void trap_end(void)
{
    _exit(failures != 0);
}

bool trap_is_long(void)
{
    return getenv("TRAP_LONG") != NULL;
}

bool trap_is_recording(void)
{
    const char *settings = getenv("HEAPTALLY");
    return settings && strstr(settings, "record=1");
}

bool trap_has_library(void)
{
    const char *library = getenv("TRAP_PRELOAD");
    return library && *library;
}

size_t trap_times(size_t quick, size_t longer)
{
    return trap_is_long() ? longer : quick;
}

double trap_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

long trap_resident_kib(void)
{
    char text[200] = "";
    long all = 0, resident = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || sscanf(text, "%ld %ld", &all, &resident) != 2)
        trap_complain(__FILE__, __LINE__, "/proc/self/statm can be read", errno);
    close(fd);
    return resident * 4;
}

long trap_mappings(void)
{
    char text[4096];
    long lines = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while ((got = read(fd, text, sizeof(text))) > 0)
        for (ssize_t i = 0; i < got; i++)
            lines += text[i] == '\n';
    close(fd);
    return lines;
}

unsigned trap_random(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* The first and last bytes of all blocks, and one byte a page of large ones. */
void trap_fill(void *block, size_t size, unsigned mark)
{
    unsigned char *p = block;
    for (size_t i = 0; i < size; i += i < 256 || i + 256 > size ? 1 : 251)
        p[i] = (unsigned char)(mark * 31 + i);
}

bool trap_is_filled(const void *block, size_t size, unsigned mark)
{
    const unsigned char *p = block;
    for (size_t i = 0; i < size; i += i < 256 || i + 256 > size ? 1 : 251)
        if (p[i] != (unsigned char)(mark * 31 + i))
            return false;
    return true;
}

/* --- children ------------------------------------------------------------------------------------- */

int trap_wait(pid_t pid, unsigned seconds)
{
    int status = -1;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd event = {.fd = fd, .events = POLLIN};
    double end = trap_now() + seconds;
    while (fd >= 0 && poll(&event, 1, 1000) <= 0 && trap_now() < end)
        continue;
    bool ended = fd < 0 || (event.revents & POLLIN);
    if (fd >= 0)
        close(fd);
    if (!ended && getenv("TRAP_KEEP")) {
        trap_say("pid %d hangs and was left", (int)pid);
        return -1;
    }
    if (!ended) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return ended ? status : -1;
}

bool trap_child(void (*run)(void *), void *argument, unsigned seconds)
{
    pid_t pid = fork();
    if (pid == 0) {
        failures = 0;
        run(argument);
        trap_end();
    }
    if (pid < 0)
        return false;
    int status = trap_wait(pid, seconds);
    if (status != 0)
        trap_say("child %d: status %#x", (int)pid, (unsigned)status);
    return status == 0;
}

int trap_shell(const char *command, unsigned seconds)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(126);
    }
    int status = trap_wait(pid, seconds);
    if (status < 0)
        return -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* --- the driver ----------------------------------------------------------------------------------- */

static _Noreturn void become_check(const struct trap *trap, int words)
{
    const char *library = getenv("TRAP_PRELOAD"), *settings = getenv("TRAP_SETTINGS");
    setpgid(0, 0);
    dup2(words, STDERR_FILENO);
    dup2(words, STDOUT_FILENO);
    setenv("HEAPTALLY", settings ? settings : "", 1);
    if (library && *library)
        setenv("LD_PRELOAD", library, 1);
    execl("/proc/self/exe", program_invocation_name, trap->name, (char *)NULL);
    _exit(126);
}

/* What the check said, each line behind a bar. */
static void show_words(int words)
{
    char text[TOLD_MAX + 1];
    ssize_t got = pread(words, text, TOLD_MAX, 0);
    text[got > 0 ? got : 0] = '\0';
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        printf("    | %s\n", line);
}

static bool run_check(const struct trap *trap)
{
    int words = memfd_create("words", MFD_CLOEXEC);
    unsigned seconds = (trap->seconds ? trap->seconds : SECONDS_DEFAULT) * (trap_is_long() ? 10 : 1);
    double began = trap_now();
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        become_check(trap, words);
    int status = trap_wait(pid, seconds);
    bool good = status == 0 || (status > 0 && WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED);
    if (status == 0)
        printf("ok %s  %.1f s\n", trap->name, trap_now() - began);
    else if (good)
        printf("skip %s\n", trap->name);
    else if (status < 0)
        printf("FAIL %s: not done after %u s\n", trap->name, seconds);
    else if (WIFSIGNALED(status))
        printf("FAIL %s: signal %d\n", trap->name, WTERMSIG(status));
    else
        printf("FAIL %s: exit code %d\n", trap->name, WEXITSTATUS(status));
    if (status != 0)
        show_words(words);
    kill(-pid, SIGKILL); /* what it may have left running */
    close(words);
    return good;
}

int main(int argc, char **argv)
{
    int bad = 0;
    bool list = argc > 1 && strcmp(argv[1], "--list") == 0;
    for (const struct trap *trap = traps; trap->name; trap++) {
        if (list) {
            puts(trap->name);
        } else if (argc == 1) {
            bad += !run_check(trap);
        } else if (strcmp(argv[1], trap->name) == 0) {
            trap->run();
            return failures != 0;
        }
    }
    return argc > 1 && !list ? 125 : bad != 0;
}
