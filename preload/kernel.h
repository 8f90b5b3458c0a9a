/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - system calls for code that may stand anywhere: in a signal handler, in a frozen copy, in a vfork
 * child.
 *
 * The result is the kernel's own: a negative errno on failure. errno itself is never touched, no lock is
 * taken, and no cancellation point is passed, which is what the C library's functions of the same names
 * cannot promise. x86-64 Linux, like the rest of the library.
 */
#ifndef HEAPTALLY_KERNEL_H
#define HEAPTALLY_KERNEL_H

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long kernel_call6(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long kernel_call4(long number, long a, long b, long c, long d)
{
    return kernel_call6(number, a, b, c, d, 0, 0);
}

static inline long kernel_call(long number, long a, long b, long c)
{
    return kernel_call6(number, a, b, c, 0, 0, 0);
}

static inline int kernel_pid(void)
{
    return (int)kernel_call(SYS_getpid, 0, 0, 0);
}

static inline int kernel_tid(void)
{
    return (int)kernel_call(SYS_gettid, 0, 0, 0);
}

/* --- files: names are absolute -------------------------------------------------------------------------- */

int kernel_open(const char *path, int flags); /* adds O_CLOEXEC */
void kernel_close(int fd);
/* Up to `size` bytes; 0 at the end and on errors. */
size_t kernel_read(int fd, void *buffer, size_t size);
/* The start of a small file, with a NUL behind it; its length, 0 when it cannot be read. */
size_t kernel_read_file(const char *path, char *buffer, size_t size);

/* --- futexes -------------------------------------------------------------------------------------------- */

/* Sleep while *word == value, at most `ms` (0: no limit). */
void kernel_futex_wait(const uint32_t *word, uint32_t value, uint32_t ms);
void kernel_futex_wake(const uint32_t *word, int count);

/* --- signals -------------------------------------------------------------------------------------------- */

struct kernel_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask; /* bit n-1: signal n */
};

static inline uint64_t kernel_signal_bit(int signal)
{
    return 1ull << (signal - 1);
}

/* What is blocked while this thread stands still or looks after others: all but SIGSYS (sandbox.h), which only ever
 * answers a call of this thread's own; blocked, it would kill. */
#define KERNEL_EVERY_SIGNAL (~(1ull << (SIGSYS - 1)))

bool kernel_action_get(int signal, struct kernel_action *ret);
/* Completes flags and restorer for a handler. */
bool kernel_action_set(int signal, const struct kernel_action *action);
uint64_t kernel_mask_set(uint64_t mask); /* returns the one before */

/* --- text ----------------------------------------------------------------------------------------------- */

/* Append at `at`, within `size` bytes, always NUL-terminated; returns the new end. */
size_t text_add(char *buffer, size_t size, size_t at, const char *text);
size_t text_add_number(char *buffer, size_t size, size_t at, uint64_t number);

#endif
