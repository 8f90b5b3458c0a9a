/* SPDX-License-Identifier: MIT */
/*
 * channel.h - the connection to the companion.
 *
 *    closed --channel_open--> open --(program closed or reused the number, companion gone)--> stale
 *      ^                                                                                        |
 *      '------------------------------------ channel_check -------------------------------------'
 *
 * The descriptor is kept high up, where programs do not look, and close-on-exec. It is recognised by the
 * identity of its socket, since the program may have closed it and may use its number for something else: a
 * number that is not provably ours is never written to nor closed.
 *
 * Sending never raises SIGPIPE. A companion that dies closes the socket and every call here fails at once;
 * one that is stopped (SIGSTOP, a debugger) stops a frozen target with it.
 *
 * Threads: the freeze lock guards all of it. Async-signal-safe.
 */
#ifndef HEAPTALLY_CHANNEL_H
#define HEAPTALLY_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/wire.h"

struct channel {
    int fd; /* -1: closed */
    uint64_t device, inode;
    int32_t peer_pid; /* of the companion; 0 when it is in a pid namespace we cannot see */
    uint32_t peer_uid;
};
#define CHANNEL_CLOSED                                                                                       \
    {                                                                                                        \
        .fd = -1                                                                                             \
    }

bool channel_open(struct channel *channel, const char *path);
bool channel_is_open(const struct channel *channel); /* and still ours */
void channel_close(struct channel *channel);

/* One message; `body` may be any address: what cannot be read there breaks the connection. */
bool channel_send(struct channel *channel, enum wire_type type, const void *body, uint32_t length);
bool channel_send_text(struct channel *channel, const char *line); /* a NOTE */

/* The next message: its type, or 0 when the connection is over. The body must be exactly `size` bytes for the
 * types that have one and is put into `body`. */
enum wire_type channel_receive(struct channel *channel, void *body, uint32_t size);

#endif
