/* SPDX-License-Identifier: MIT */
#include "tracer/tool/peer.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

void peer_start(struct peer *peer, int fd)
{
    peer->fd = fd;
    peer->have = 0;
}

static enum peer_status read_until(struct peer *peer, size_t start, void *to, size_t length)
{
    while (peer->have < start + length) {
        size_t done = peer->have - start;
        ssize_t n = recv(peer->fd, (char *)to + done, length - done, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return PEER_AGAIN;
        if (n <= 0)
            return PEER_CLOSED;
        peer->have += (size_t)n;
    }
    return PEER_MESSAGE;
}

static bool length_is_right(const struct wire_header *header)
{
    switch (header->type) {
    case WIRE_HELLO:
        return header->length == sizeof(struct wire_hello);
    case WIRE_CHECK:
        return header->length == sizeof(struct wire_target);
    case WIRE_NOTE:
        return header->length <= PEER_BODY_MAX;
    default:
        return false;
    }
}

enum peer_status peer_next(struct peer *peer)
{
    enum peer_status status = PEER_MESSAGE;
    if (peer->have < sizeof(peer->header))
        status = read_until(peer, 0, &peer->header, sizeof(peer->header));
    if (status != PEER_MESSAGE)
        return status;
    if (peer->header.magic != WIRE_MAGIC)
        return PEER_MALFORMED;
    if (peer->header.version != WIRE_VERSION)
        return PEER_OTHER_VERSION;
    if (!length_is_right(&peer->header))
        return PEER_MALFORMED;
    status = read_until(peer, sizeof(peer->header), &peer->body, peer->header.length);
    if (status != PEER_MESSAGE)
        return status;
    peer->have = 0;
    if (peer->header.type == WIRE_NOTE)
        peer->body.text[peer->header.length] = '\0';
    if (peer->header.type == WIRE_HELLO)
        peer->body.hello.program[sizeof(peer->body.hello.program) - 1] = '\0';
    return PEER_MESSAGE;
}

void peer_send_done(int fd, uint32_t verdict)
{
    struct {
        struct wire_header header;
        struct wire_done done;
    } message = {{WIRE_MAGIC, WIRE_DONE, WIRE_VERSION, sizeof(struct wire_done)}, {verdict, 0}};
    _Static_assert(sizeof(message) == sizeof(struct wire_header) + sizeof(struct wire_done),
                   "no padding between");
    /* Twenty bytes into an empty socket: this neither blocks nor tears. Whether anybody is left to read it is
     * his affair. */
    (void)!send(fd, &message, sizeof(message), MSG_NOSIGNAL);
}
