/* SPDX-License-Identifier: MIT */
#include "preload/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "preload/kernel.h"

#define FD_HIGH      1000 /* high enough to be out of the way, low enough not to make the kernel's table big */
#define FD_LOW       3
#define CONNECT_SECS 10

/* A descriptor as far up as the limit allows; the given one when there is no place. */
static int move_up(int fd)
{
    struct rlimit limit = {0};
    kernel_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit);
    long floor = limit.rlim_cur > FD_HIGH + 24 ? FD_HIGH : (long)limit.rlim_cur - 24;
    long high = floor > FD_LOW ? kernel_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, floor) : -1;
    if (high < 0)
        high = kernel_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FD_LOW);
    if (high < 0)
        return fd;
    kernel_close(fd);
    return (int)high;
}

static bool identify(int fd, uint64_t *ret_device, uint64_t *ret_inode)
{
    struct stat st;
    if (kernel_call(SYS_fstat, fd, (long)&st, 0) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    *ret_device = st.st_dev;
    *ret_inode = st.st_ino;
    return true;
}

static bool connect_to(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = CONNECT_SECS};
    size_t length = strlen(path);
    if (length >= sizeof(address.sun_path))
        return false;
    memcpy(address.sun_path, path, length);
    /* Connecting waits while the companion's queue is full; sending, later, may take as long as the companion
     * needs. */
    kernel_call6(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, (long)&limit, sizeof(limit), 0);
    long result;
    do
        result = kernel_call(SYS_connect, fd, (long)&address, sizeof(address));
    while (result == -EINTR);
    limit.tv_sec = 0;
    kernel_call6(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, (long)&limit, sizeof(limit), 0);
    return result == 0 || result == -EISCONN;
}

static void ask_peer(struct channel *channel)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof(peer);
    kernel_call6(SYS_getsockopt, channel->fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&size, 0);
    channel->peer_pid = peer.pid;
    channel->peer_uid = peer.uid;
}

bool channel_open(struct channel *channel, const char *path)
{
    int fd = (int)kernel_call(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (!connect_to(fd, path)) {
        kernel_close(fd);
        return false;
    }
    channel->fd = move_up(fd);
    ask_peer(channel);
    if (identify(channel->fd, &channel->device, &channel->inode))
        return true;
    channel_close(channel);
    return false;
}

bool channel_is_open(const struct channel *channel)
{
    uint64_t device, inode;
    return channel->fd >= 0 && identify(channel->fd, &device, &inode) && device == channel->device &&
           inode == channel->inode;
}

void channel_close(struct channel *channel)
{
    if (channel_is_open(channel))
        kernel_close(channel->fd);
    channel->fd = -1;
}

/* --- messages ------------------------------------------------------------------------------------------- */

/* A program may have made the socket non-blocking, along with all that it found open. true: try again. */
static bool may_retry(const struct channel *channel, long result, short event)
{
    struct pollfd wait = {.fd = channel->fd, .events = event};
    if (result == -EAGAIN)
        kernel_call(SYS_poll, (long)&wait, 1, -1);
    return result == -EAGAIN || result == -EINTR;
}

static bool send_all(struct channel *channel, const void *bytes, size_t length, int flags)
{
    const char *at = bytes;
    while (length) {
        long n = kernel_call6(SYS_sendto, channel->fd, (long)at, (long)length, MSG_NOSIGNAL | flags, 0, 0);
        if (may_retry(channel, n, POLLOUT))
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

bool channel_send(struct channel *channel, enum wire_type type, const void *body, uint32_t length)
{
    struct wire_header header = {WIRE_MAGIC, (uint16_t)type, WIRE_VERSION, length};
    return send_all(channel, &header, sizeof(header), length ? MSG_MORE : 0) &&
           send_all(channel, body, length, 0);
}

bool channel_send_text(struct channel *channel, const char *line)
{
    return channel_send(channel, WIRE_NOTE, line, (uint32_t)strlen(line));
}

static bool receive_all(struct channel *channel, void *bytes, size_t length)
{
    char *at = bytes;
    while (length) {
        long n = kernel_call6(SYS_recvfrom, channel->fd, (long)at, (long)length, 0, 0, 0);
        if (may_retry(channel, n, POLLIN))
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

enum wire_type channel_receive(struct channel *channel, void *body, uint32_t size)
{
    struct wire_header header;
    if (!receive_all(channel, &header, sizeof(header)))
        return 0;
    if (header.magic != WIRE_MAGIC || header.version != WIRE_VERSION || header.length > size)
        return 0;
    memset(body, 0, size);
    return receive_all(channel, body, header.length) ? (enum wire_type)header.type : 0;
}
