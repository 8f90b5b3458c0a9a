/* SPDX-License-Identifier: MIT */
/*
 * peer.h - whole messages from one target, as its bytes arrive.
 *
 *    socket --header--> checked: magic, version, length by type --body--> struct peer_message
 *
 * Never reads past the end of a message: what follows a CHECK belongs to whoever serves the memory. Whatever
 * is malformed closes the conversation; it never becomes a message.
 */
#ifndef HEAPTALLY_PEER_H
#define HEAPTALLY_PEER_H

#include <stddef.h>

#include "tracer/format/wire.h"

#define PEER_BODY_MAX 4096 /* of what a target sends without being asked */

struct peer {
    int fd;      /* non-blocking; not owned */
    size_t have; /* bytes of header and body so far */
    struct wire_header header;
    union {
        struct wire_hello hello;
        struct wire_target target;
        char text[PEER_BODY_MAX + 1]; /* NOTE: always terminated */
    } body;
};

enum peer_status {
    PEER_MESSAGE, /* header.type is WIRE_HELLO, WIRE_CHECK or WIRE_NOTE, and body is whole */
    PEER_AGAIN,   /* nothing more has arrived */
    PEER_CLOSED,  /* the other side is gone */
    PEER_MALFORMED,
    PEER_OTHER_VERSION, /* header.version says which */
};

void peer_start(struct peer *peer, int fd);
enum peer_status peer_next(struct peer *peer);
/* Let a frozen target go on; never fails, it may be gone. */
void peer_send_done(int fd, uint32_t verdict);

#endif
