/* SPDX-License-Identifier: MIT */
#include "preload/serve.h"

#include <fcntl.h>

#include "allocator/platform.h"
#include "preload/kernel.h"

/* Any number that rt_sigprocmask does not know: it then reads the set, and does nothing. */
#define NO_SUCH_HOW 0x7fff

/* The kernel reads eight bytes of the page, not the first ones: to it, NULL is not an address. They never leave it. */
static bool can_read(uint64_t page)
{
    return kernel_call4(SYS_rt_sigprocmask, NO_SUCH_HOW, (long)(page + sizeof(uint64_t)), 0,
                        sizeof(uint64_t)) != -EFAULT;
}

static uint32_t readable_prefix(uint64_t addr, uint32_t length)
{
    uint64_t page = addr & ~(uint64_t)(PLATFORM_PAGE - 1), end;
    if (__builtin_add_overflow(addr, length, &end))
        end = ~0ull;
    for (uint64_t at = page; at < end; at += PLATFORM_PAGE) {
        if (!can_read(at))
            return at > addr ? (uint32_t)(at - addr) : 0;
    }
    return (uint32_t)(end - addr);
}

static bool serve_read(struct channel *channel, const struct wire_read *request)
{
    uint32_t length = request->length <= WIRE_MAX_LENGTH ? request->length : WIRE_MAX_LENGTH;
    length = readable_prefix(request->addr, length);
    return channel_send(channel, WIRE_DATA, (const void *)(uintptr_t)request->addr, length);
}

/* thread-self: after the main thread's pthread_exit, only a living thread's maps have anything in them. */
static bool serve_maps(struct channel *channel)
{
    static char piece[32768]; /* too big for an alternate signal stack */
    size_t n;
    bool done = true;
    int fd = kernel_open("/proc/thread-self/maps", O_RDONLY);
    while (fd >= 0 && done && (n = kernel_read(fd, piece, sizeof(piece))) > 0)
        done = channel_send(channel, WIRE_DATA, piece, (uint32_t)n);
    if (fd >= 0)
        kernel_close(fd);
    return done && channel_send(channel, WIRE_DATA, NULL, 0);
}

bool serve(struct channel *channel)
{
    union {
        struct wire_read read;
        struct wire_done done;
    } body;
    for (;;) {
        switch (channel_receive(channel, &body, sizeof(body))) {
        case WIRE_READ:
            if (!serve_read(channel, &body.read))
                return false;
            break;
        case WIRE_MAPS:
            if (!serve_maps(channel))
                return false;
            break;
        case WIRE_DONE:
            return true;
        default:
            return false;
        }
    }
}
