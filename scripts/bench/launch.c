/* SPDX-License-Identifier: MIT */
/*
 * launch.c - start a program with a library preloaded, and say what it took.
 *
 *   launch [-l LIBRARY] [-e LIBRARY]... [-a LIBRARY]... [-n TIMES] -o REPORT PROGRAM ARGUMENT...
 *
 *     -l  preloaded (LD_PRELOAD), nothing else in the environment changes
 *     -e  must be mapped when the program ends       -a  must not be
 *     -n  run it so many times, one after the other; the times are of all, memory and maps of the last
 *     -o  one line: key=value words, times in microseconds, memory in KiB
 *
 * It is small, so that what a child has of its parent before exec does not show in the child's memory, and it preloads
 * nothing into itself. The last run is traced, for one event only: the kernel stops it when it ends, with its memory
 * still there, and then its high-water mark (of this program, not of what was there before exec), what is resident and
 * which libraries are mapped are read. The clock stands still while that is done, and runs again while the kernel tears
 * the memory down. What is only kept until the kernel wants it (MADV_FREE) is told apart.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_NAMES 16u

struct plan {
    const char *library, *report;
    const char *expected[MOST_NAMES], *absent[MOST_NAMES];
    unsigned expected_count, absent_count;
    long times;
    char **command;
};

struct result {
    int status;
    uint64_t wall_us, cpu_us, system_us;
    long peak_kib, end_kib, lazy_kib;
    bool saw_end;                   /* the figures of its end are there */
    const char *missing, *unwanted; /* a library that should be mapped and is not, or the reverse; or "" */
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
    exit(125);
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* The number behind a name at the start of a line of /proc/PID/file, or -1. */
static long proc_number(pid_t pid, const char *file, const char *name)
{
    char path[64], line[512];
    long number = -1;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    FILE *stream = fopen(path, "r");
    while (stream && fgets(line, sizeof(line), stream))
        if (strncmp(line, name, strlen(name)) == 0)
            number = strtol(line + strlen(name), NULL, 10);
    if (stream)
        fclose(stream);
    return number;
}

static bool is_mapped(pid_t pid, const char *library)
{
    char path[64], line[4352];
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "r");
    while (maps && fgets(line, sizeof(line), maps)) {
        line[strcspn(line, "\n")] = '\0';
        size_t length = strlen(line), wanted = strlen(library);
        found = found || (length > wanted && strcmp(line + length - wanted, library) == 0);
    }
    if (maps)
        fclose(maps);
    return found;
}

/* The program has ended, its memory has not. */
static void look_at_end(pid_t pid, const struct plan *plan, struct result *result)
{
    result->peak_kib = proc_number(pid, "status", "VmHWM:");
    result->end_kib = proc_number(pid, "smaps_rollup", "Rss:");
    result->lazy_kib = proc_number(pid, "smaps_rollup", "LazyFree:");
    result->saw_end = result->peak_kib > 0 && result->end_kib > 0;
    for (unsigned i = 0; i < plan->expected_count; i++)
        if (!is_mapped(pid, plan->expected[i]))
            result->missing = plan->expected[i];
    for (unsigned i = 0; i < plan->absent_count; i++)
        if (is_mapped(pid, plan->absent[i]))
            result->unwanted = plan->absent[i];
}

/* One that is traced stops at its exec, so that no moment of it is missed. */
static pid_t start(char **command, char **environment, bool traced)
{
    pid_t pid = vfork();

    if (pid < 0)
        fail("vfork");
    if (pid == 0) {
        if (traced && ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(126);
        execvpe(command[0], command, environment);
        _exit(127);
    }
    return pid;
}

static void add_usage(struct result *result, const struct rusage *usage)
{
    uint64_t system = (uint64_t)usage->ru_stime.tv_sec * 1000000u + (uint64_t)usage->ru_stime.tv_usec;

    result->system_us += system;
    result->cpu_us +=
        system + (uint64_t)usage->ru_utime.tv_sec * 1000000u + (uint64_t)usage->ru_utime.tv_usec;
}

static void run_plainly(char **command, char **environment, struct result *result)
{
    struct rusage usage;
    uint64_t began = now_us();
    pid_t pid = start(command, environment, false);

    if (wait4(pid, &result->status, 0, &usage) != pid)
        fail("wait");
    result->wall_us += now_us() - began;
    add_usage(result, &usage);
}

/* Signals are passed on; the stop at exec is ours, and so is the one at the end. */
static void run_traced(const struct plan *plan, char **environment, struct result *result)
{
    struct rusage usage;
    uint64_t began = now_us(), paused = 0;
    pid_t pid = start(plan->command, environment, true);
    bool began_tracing = false;

    while (wait4(pid, &result->status, __WALL, &usage) == pid && WIFSTOPPED(result->status)) {
        const long options = PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
        long signal = WSTOPSIG(result->status);
        int event = result->status >> 16;

        if (event == PTRACE_EVENT_EXIT) {
            uint64_t stopped = now_us();

            look_at_end(pid, plan, result);
            paused += now_us() - stopped;
        } else if (!began_tracing) {
            if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)options) != 0)
                fail("ptrace");
            began_tracing = true;
            signal = 0;
        }
        if (event)
            signal = 0;
        ptrace(PTRACE_CONT, pid, NULL, (void *)signal);
    }
    result->wall_us += now_us() - began - paused;
    add_usage(result, &usage);
}

/* The program's environment: ours, and LD_PRELOAD. */
static char **make_environment(const char *library)
{
    unsigned count = 0, kept = 0;

    while (environ[count])
        count++;
    char **environment = calloc(count + 2, sizeof(char *));
    if (!environment)
        fail("environment");
    for (unsigned i = 0; i < count; i++)
        if (strncmp(environ[i], "LD_PRELOAD=", 11) != 0)
            environment[kept++] = environ[i];
    if (library && *library && asprintf(&environment[kept], "LD_PRELOAD=%s", library) < 0)
        fail("environment");
    return environment;
}

static void parse(int argc, char **argv, struct plan *plan)
{
    int option;

    while ((option = getopt(argc, argv, "+l:e:a:n:o:")) != -1) {
        switch (option) {
        case 'l':
            plan->library = optarg;
            break;
        case 'e':
            if (plan->expected_count < MOST_NAMES)
                plan->expected[plan->expected_count++] = optarg;
            break;
        case 'a':
            if (plan->absent_count < MOST_NAMES)
                plan->absent[plan->absent_count++] = optarg;
            break;
        case 'n':
            plan->times = strtol(optarg, NULL, 10);
            break;
        case 'o':
            plan->report = optarg;
            break;
        default:
            exit(125);
        }
    }
    plan->command = argv + optind;
    if (!plan->command[0] || !plan->report || plan->times < 1) {
        fprintf(
            stderr,
            "usage: launch [-l LIBRARY] [-e LIBRARY]... [-a LIBRARY]... [-n TIMES] -o REPORT PROGRAM ...\n");
        exit(125);
    }
}

int main(int argc, char **argv)
{
    struct plan plan = {.times = 1};
    struct result result = {.missing = "", .unwanted = ""};

    parse(argc, argv, &plan);
    char **environment = make_environment(plan.library);
    for (long i = 1; i < plan.times && result.status == 0; i++)
        run_plainly(plan.command, environment, &result);
    if (result.status == 0)
        run_traced(&plan, environment, &result);

    FILE *report = fopen(plan.report, "w");
    if (!report)
        fail(plan.report);
    fprintf(
        report,
        "status=%d wall=%lu cpu=%lu system=%lu peak=%ld end=%ld lazy=%ld saw_end=%d missing=%s unwanted=%s\n",
        WIFSIGNALED(result.status) ? 128 + WTERMSIG(result.status) : WEXITSTATUS(result.status),
        result.wall_us, result.cpu_us, result.system_us, result.peak_kib, result.end_kib, result.lazy_kib,
        result.saw_end, result.missing, result.unwanted);
    return fclose(report) == 0 ? 0 : 125;
}
