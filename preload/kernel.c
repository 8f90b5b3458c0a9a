/* SPDX-License-Identifier: MIT */
#include "preload/kernel.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define SA_RESTORER_FLAG 0x04000000ul

int kernel_open(const char *path, int flags)
{
    return (int)kernel_call4(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0);
}

void kernel_close(int fd)
{
    kernel_call(SYS_close, fd, 0, 0);
}

size_t kernel_read(int fd, void *buffer, size_t size)
{
    long n;
    do
        n = kernel_call(SYS_read, fd, (long)buffer, (long)size);
    while (n == -EINTR);
    return n > 0 ? (size_t)n : 0;
}

size_t kernel_read_file(const char *path, char *buffer, size_t size)
{
    size_t have = 0, n;
    int fd = kernel_open(path, O_RDONLY);
    if (fd < 0)
        return 0;
    while (have < size - 1 && (n = kernel_read(fd, buffer + have, size - 1 - have)) > 0)
        have += n;
    kernel_close(fd);
    buffer[have] = '\0';
    return have;
}

void kernel_futex_wait(const uint32_t *word, uint32_t value, uint32_t ms)
{
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    kernel_call4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, value, ms ? (long)&limit : 0);
}

void kernel_futex_wake(const uint32_t *word, int count)
{
    kernel_call(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, count);
}

/* The kernel returns from a handler through this; debuggers and unwinders know it by its bytes, so it carries
 * no unwind table of its own. */
void kernel_signal_return(void);
__asm__(".text\n"
        ".balign 16\n"
        "    nop\n" /* a return address minus one must not lie in the function before */
        ".hidden kernel_signal_return\n"
        ".globl kernel_signal_return\n"
        ".type kernel_signal_return, @function\n"
        "kernel_signal_return:\n"
        "    movq $15, %rax\n"
        "    syscall\n"
        ".size kernel_signal_return, .-kernel_signal_return\n");

bool kernel_action_get(int signal, struct kernel_action *ret)
{
    return kernel_call4(SYS_rt_sigaction, signal, 0, (long)ret, sizeof(ret->mask)) == 0;
}

bool kernel_action_set(int signal, const struct kernel_action *action)
{
    struct kernel_action whole = *action;
    if (!whole.restorer && whole.handler != (void *)(uintptr_t)SIG_DFL &&
        whole.handler != (void *)(uintptr_t)SIG_IGN) {
        whole.restorer = (void *)(uintptr_t)kernel_signal_return;
        whole.flags |= SA_RESTORER_FLAG;
    }
    return kernel_call4(SYS_rt_sigaction, signal, (long)&whole, 0, sizeof(whole.mask)) == 0;
}

uint64_t kernel_mask_set(uint64_t mask)
{
    uint64_t old = 0;
    kernel_call4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, (long)&old, sizeof(old));
    return old;
}

size_t text_add(char *buffer, size_t size, size_t at, const char *text)
{
    size_t length = strlen(text);
    if (length > size - 1 - at)
        length = size - 1 - at;
    memcpy(buffer + at, text, length);
    buffer[at + length] = '\0';
    return at + length;
}

size_t text_add_number(char *buffer, size_t size, size_t at, uint64_t number)
{
    char digits[24];
    size_t i = sizeof(digits);
    digits[--i] = '\0';
    do
        digits[--i] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    return text_add(buffer, size, at, digits + i);
}
