/* SPDX-License-Identifier: MIT */
#include "preload/tasks.h"

#include <fcntl.h>
#include <dirent.h>
#include <string.h>
#include <sys/uio.h>

#include "preload/kernel.h"

/* The freeze lock guards both: too big for an alternate signal stack. */
static char text[4096];
static char entries[8192] __attribute__((aligned(8)));

#define TASK_DIRECTORY "/proc/self/task/"

static size_t read_of_task(int tid, const char *what)
{
    char path[64];
    size_t at = text_add(path, sizeof(path), 0, TASK_DIRECTORY);
    at = text_add_number(path, sizeof(path), at, (uint64_t)tid);
    text_add(path, sizeof(path), at, what);
    return kernel_read_file(path, text, sizeof(text));
}

static int number_of(const char *digits)
{
    int number = 0;
    for (; *digits >= '0' && *digits <= '9'; digits++)
        number = number * 10 + (*digits - '0');
    return *digits == '\0' ? number : 0;
}

/* The text behind "\nkey:" and its blanks; NULL when there is no such line. */
static const char *line_value(const char *key)
{
    const char *at = strstr(text, key);
    if (!at)
        return NULL;
    at += strlen(key);
    return at + strspn(at, "\t ");
}

/* A process in a pid namespace may still see the /proc of an outer one, where all its numbers are others. */
static bool proc_has_our_numbers(void)
{
    char target[24] = "";
    kernel_call(SYS_readlink, (long)"/proc/self", (long)target, sizeof(target) - 1);
    return number_of(target) == kernel_pid();
}

/* The last number behind "NSpid:" is the innermost one. 0: the thread is gone. */
static int inner_number(int tid)
{
    int number = 0;
    const char *at = read_of_task(tid, "/status") ? line_value("\nNSpid:") : NULL;
    for (; at && *at && *at != '\n'; at++) {
        if (*at == '\t')
            number = 0;
        else
            number = number * 10 + (*at - '0');
    }
    return number;
}

bool tasks_list(void (*each)(void *ctx, int tid), void *ctx)
{
    int fd = kernel_open(TASK_DIRECTORY, O_RDONLY | O_DIRECTORY);
    long n;
    if (fd < 0)
        return false;
    bool ours = proc_has_our_numbers();
    while ((n = kernel_call(SYS_getdents64, fd, (long)entries, sizeof(entries))) > 0) {
        for (long at = 0; at < n;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            int tid = number_of(entry->d_name);
            if (tid > 0 && !ours)
                tid = inner_number(tid);
            if (tid > 0)
                each(ctx, tid);
            at += entry->d_reclen;
        }
    }
    kernel_close(fd);
    return n == 0;
}

static uint64_t hexadecimal(const char *at)
{
    uint64_t value = 0;
    for (;; at++) {
        if (*at >= '0' && *at <= '9')
            value = value << 4 | (uint64_t)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            value = value << 4 | (uint64_t)(*at - 'a' + 10);
        else
            return value;
    }
}

_Static_assert(SYS_rt_sigtimedwait == 128, "as in the text below");

/* "128 0x7f...": the call it sleeps in and its first argument, the set that sigwait() waits for. While it
 * waits, the kernel does not show these signals as blocked. The set is the program's memory and may go any
 * moment: the kernel copies it. Where it cannot be read, a thread in sigwait() is left alone. */
static bool waits_for(int tid, int signal)
{
    static const char sigtimedwait[] = "128 0x";
    uint64_t set = 0;
    if (!read_of_task(tid, "/syscall") || strncmp(text, sigtimedwait, sizeof(sigtimedwait) - 1) != 0)
        return false;
    struct iovec to = {&set, sizeof(set)};
    struct iovec from = {(void *)hexadecimal(text + sizeof(sigtimedwait) - 1), sizeof(set)};
    long n = kernel_call6(SYS_process_vm_readv, kernel_pid(), (long)&to, 1, (long)&from, 1, 0);
    return n != sizeof(set) || (set & kernel_signal_bit(signal));
}

struct task_look task_look(int tid, int signal)
{
    struct task_look look = {.mood = TASK_LISTENS};
    if (!read_of_task(tid, "/status")) {
        bool gone = kernel_call(SYS_tgkill, kernel_pid(), tid, 0) == -ESRCH;
        look.mood = gone ? TASK_GONE : TASK_LISTENS;
        return look;
    }
    const char *state = line_value("\nState:"), *blocked = line_value("\nSigBlk:");
    const char *tracer = line_value("\nTracerPid:");
    look.sleeping = state && (*state == 'S' || *state == 'D');
    look.traced = tracer && *tracer != '0';
    if (state && (*state == 'Z' || *state == 'X'))
        look.mood = TASK_GONE;
    else if (blocked && (hexadecimal(blocked) & kernel_signal_bit(signal)))
        look.mood = TASK_DEAF;
    else if (look.sleeping && waits_for(tid, signal))
        look.mood = TASK_DEAF;
    return look;
}

void task_name(int tid, char *name)
{
    size_t length = read_of_task(tid, "/comm");
    if (length && text[length - 1] == '\n')
        length--;
    if (length > 15)
        length = 15;
    memset(name, 0, 16);
    memcpy(name, text, length);
}
