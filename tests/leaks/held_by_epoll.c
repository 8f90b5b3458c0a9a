/* SPDX-License-Identifier: MIT */
/*
 * held_by_epoll.c - the only pointer is epoll_event.data.ptr, in the kernel: readable in /proc/PID/fdinfo,
 * and no leak.
 *
 * held: 1
 */
#include <sys/epoll.h>
#include <unistd.h>

#include "leak.h"

OWN static void build(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int ends[2], fd = epoll_create1(0);

    event.data.ptr = OPAQUE(calloc(1, 64));
    if (fd < 0 || pipe(ends) != 0 || epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &event) != 0)
        exit(1);
}

int main(void)
{
    build();
    scrub();
    return 0;
}
