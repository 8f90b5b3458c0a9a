/* SPDX-License-Identifier: MIT */
/*
 * A snapshot of the running program: park the threads, copy the process, let them go; the copy stands still
 * for the companion and ends.
 *
 *    requested thread --clone(VM|VFORK)--> middle --clone()--> the copy
 *           |  sleeps until the middle ends <-'                  '--> connect, CHECK, serve, exit_group
 *
 * Two steps, so that the copy is nobody's child here: the program's wait() never sees it and leaves no
 * zombie. The middle shares the memory, hence costs no copying, and uses registers only. No exit signal, and
 * CLONE_UNTRACED: a debugger or strace does not follow.
 */
#include "preload/freeze.h"

#include <fcntl.h>
#include <dirent.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "preload/kernel.h"
#include "preload/sandbox.h"
#include "preload/serve.h"
#include "preload/thread.h"

#define MIDDLE_FLAGS (CLONE_VM | CLONE_VFORK | CLONE_UNTRACED)

/* Returns 0 in the copy, the middle's number in the program, a negative errno when nothing was made. The
 * middle's way is only the few instructions between the two calls: it must not touch the stack, which is its
 * parent's. A failed second clone is not told: the companion waits in vain and says so. */
static long clone_twice(void)
{
    register long number __asm__("rax") = SYS_clone;
    register long flags __asm__("rdi") = MIDDLE_FLAGS;
    register long none10 __asm__("r10") = 0;
    register long none8 __asm__("r8") = 0;
    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "movl %[clone], %%eax\n\t"
                     "movl %[second], %%edi\n\t"
                     "syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jz 1f\n\t"
                     "xorl %%edi, %%edi\n\t"
                     "movl %[exit], %%eax\n\t"
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "+r"(number), "+r"(flags)
                     : "S"(0L), "d"(0L), "r"(none10),
                       "r"(none8), [clone] "i"(SYS_clone), [second] "i"(CLONE_UNTRACED), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory");
    return number;
}

/* --- the copy ------------------------------------------------------------------------------------------- */

/* Pipes and sockets held open here would keep their readers waiting for an end that the program has long
 * sent. What the companion may want to look at in /proc (epoll and its like) stays. */
static bool is_worth_keeping(int fd)
{
    static const char kept[] = "anon_inode:";
    char path[40], target[sizeof(kept)] = "";
    text_add_number(path, sizeof(path), text_add(path, sizeof(path), 0, "/proc/self/fd/"), (uint64_t)fd);
    kernel_call(SYS_readlink, (long)path, (long)target, sizeof(target) - 1);
    return strcmp(target, kept) == 0;
}

static void close_files(void)
{
    static char entries[4096] __attribute__((aligned(8)));
    long n;
    int list = kernel_open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    while (list >= 0 && (n = kernel_call(SYS_getdents64, list, (long)entries, sizeof(entries))) > 0) {
        for (long at = 0; at < n;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            int fd = 0;
            for (const char *digit = entry->d_name; *digit >= '0' && *digit <= '9'; digit++)
                fd = fd * 10 + (*digit - '0');
            if (entry->d_name[0] != '.' && fd != list && !is_worth_keeping(fd))
                kernel_close(fd);
            at += entry->d_reclen;
        }
    }
    if (list >= 0)
        kernel_close(list);
}

static bool is_trusted(uint32_t uid)
{
    return uid == 0 || uid == (uint32_t)kernel_call(SYS_geteuid, 0, 0, 0);
}

static _Noreturn void copy_run(const char *path, struct wire_target *target, const char *note)
{
    struct channel channel = CHANNEL_CLOSED;
    thread_flags.inside++;
    kernel_call(SYS_prctl, PR_SET_NAME, (long)"heaptally-copy", 0);
    close_files();
    target->pid = target->tid = kernel_pid();
    if (channel_open(&channel, path) && is_trusted(channel.peer_uid)) {
        freeze_allow_reader(&channel);
        if ((!note[0] || channel_send_text(&channel, note)) &&
            channel_send(&channel, WIRE_CHECK, target, sizeof(*target)))
            serve(&channel);
    }
    for (;;)
        kernel_call(SYS_exit_group, 0, 0, 0);
}

/* --- the program ---------------------------------------------------------------------------------------- */

/* Somebody who may ask listens there. A stray signal makes no copy. */
static bool find_companion(char *path, size_t size)
{
    struct stat st;
    text_add_number(path, size, text_add(path, size, 0, WIRE_SNAPSHOT_PATH), (uint64_t)kernel_pid());
    return kernel_call(SYS_lstat, (long)path, (long)&st, 0) == 0 && S_ISSOCK(st.st_mode) &&
           is_trusted(st.st_uid);
}

static void copy_and_go_on(const char *path, const struct thread_slot *here)
{
    struct thread_slot self = *here;
    struct freeze_how how = {WIRE_ON_REQUEST, 0, &self, true};
    struct wire_target target;
    char note[160];
    self.state = THREAD_SELF;
    freeze_describe(&how, &target, note, sizeof(note));
    long middle = clone_twice();
    if (middle == 0)
        copy_run(path, &target, note);
    park_release();
    if (middle > 0)
        kernel_call4(SYS_wait4, middle, 0, __WALL, 0);
}

/* All signals are blocked; the thread is outside the library. */
void snapshot_take(const struct thread_slot *here)
{
    char path[sizeof(WIRE_SNAPSHOT_PATH) + 24];
    struct sandbox sandbox;
    if (!freeze_is_ours() || !freeze_lock(here))
        return;
    thread_flags.inside++;
    sandbox_enter(&sandbox);
    if (find_companion(path, sizeof(path)))
        copy_and_go_on(path, here);
    sandbox_leave(&sandbox);
    thread_flags.inside--;
    freeze_unlock();
}
