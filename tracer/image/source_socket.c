/* SPDX-License-Identifier: MIT */
/*
 * Memory by asking the target for it over its socket (wire.h), where process_vm_readv is denied.
 *
 * The other side may be damaged, or gone in the middle of an answer: anything unexpected makes the source broken,
 * and a broken source reads nothing more. Shutting the connection down tells the target to go on with its life.
 */
#include "tracer/image/image.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tracer/image/proc.h"

#define ANSWER_MS 60000 /* a frozen target does nothing but answer; one that takes this long is stuck */
#define MAPS_MAX  ((size_t)128 << 20)
#define NOTES_MAX 64u /* notes that may come between a question and its answer */

struct peer {
    int fd;
    pid_t tid; /* 0: not known; then /proc is not asked */
    int pagemap;
    bool broken;
};

static bool peer_break(struct peer *peer)
{
    peer->broken = true;
    shutdown(peer->fd, SHUT_RDWR);
    return false;
}

static bool peer_receive(struct peer *peer, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct pollfd poll_fd = {.fd = peer->fd, .events = POLLIN};
        int ready = poll(&poll_fd, 1, ANSWER_MS);
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t got = ready > 0 ? recv(peer->fd, (char *)buf + done, len - done, 0) : 0;
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return peer_break(peer);
        done += (size_t)got;
    }
    return true;
}

static bool peer_ask(struct peer *peer, enum wire_type type, const void *body, uint32_t length)
{
    char message[sizeof(struct wire_header) + sizeof(struct wire_read)];
    struct wire_header header = {WIRE_MAGIC, (uint16_t)type, WIRE_VERSION, length};
    memcpy(message, &header, sizeof(header));
    if (length)
        memcpy(message + sizeof(header), body, length);
    size_t total = sizeof(header) + length;
    for (size_t done = 0; done < total;) {
        ssize_t put = send(peer->fd, message + done, total - done, MSG_NOSIGNAL);
        if (put < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (put <= 0)
            return peer_break(peer);
        done += (size_t)put;
    }
    return true;
}

/* The header of the DATA message that answers. Notes before it are read over. */
static bool peer_receive_header(struct peer *peer, uint32_t limit, uint32_t *ret_length)
{
    for (unsigned notes = 0; notes <= NOTES_MAX; notes++) {
        struct wire_header header;
        if (!peer_receive(peer, &header, sizeof(header)))
            return false;
        bool note = header.type == WIRE_NOTE;
        if (header.magic != WIRE_MAGIC || header.version != WIRE_VERSION ||
            (!note && header.type != WIRE_DATA) || header.length > (note ? WIRE_PATH_MAX : limit))
            return peer_break(peer);
        if (!note) {
            *ret_length = header.length;
            return true;
        }
        char text[WIRE_PATH_MAX];
        if (!peer_receive(peer, text, header.length))
            return false;
    }
    return peer_break(peer);
}

static size_t socket_read(void *ctx, uint64_t addr, void *buf, size_t len)
{
    struct peer *peer = ctx;
    size_t done = 0;
    while (done < len && !peer->broken) {
        uint32_t want = len - done < WIRE_MAX_LENGTH ? (uint32_t)(len - done) : WIRE_MAX_LENGTH;
        uint32_t got = 0;
        struct wire_read question = {addr + done, want, 0};
        if (!peer_ask(peer, WIRE_READ, &question, sizeof(question)) ||
            !peer_receive_header(peer, want, &got) || !peer_receive(peer, (char *)buf + done, got))
            break;
        done += got;
        if (got < want)
            break;
    }
    return done;
}

static bool maps_reserve(char **text, size_t *capacity, size_t wanted)
{
    size_t larger = *capacity * 2 > wanted ? *capacity * 2 : wanted;
    if (wanted <= *capacity)
        return true;
    char *grown = wanted <= MAPS_MAX ? realloc(*text, larger) : NULL;
    if (!grown)
        return false;
    *text = grown;
    *capacity = larger;
    return true;
}

/* DATA messages until an empty one, joined and terminated. */
static char *peer_receive_maps(struct peer *peer)
{
    char *text = NULL;
    size_t length = 0, capacity = 0;
    for (;;) {
        uint32_t more = 0;
        if (!peer_receive_header(peer, WIRE_MAX_LENGTH, &more))
            break;
        if (!maps_reserve(&text, &capacity, length + more + 1)) {
            peer_break(peer);
            break;
        }
        text[length + more] = '\0';
        if (more == 0)
            return text;
        if (!peer_receive(peer, text + length, more))
            break;
        length += more;
    }
    free(text);
    return NULL;
}

static char *socket_maps(void *ctx)
{
    struct peer *peer = ctx;
    char *text = peer->tid ? proc_read(peer->tid, "maps") : NULL;
    if (text && *text)
        return text;
    free(text);
    if (peer->broken || !peer_ask(peer, WIRE_MAPS, NULL, 0))
        return NULL;
    return peer_receive_maps(peer);
}

static char *socket_proc(void *ctx, const char *name)
{
    const struct peer *peer = ctx;
    return peer->tid ? proc_read(peer->tid, name) : NULL;
}

static size_t socket_resident(void *ctx, uint64_t addr, size_t pages, uint8_t *ret)
{
    const struct peer *peer = ctx;
    return proc_resident(peer->pagemap, addr, pages, ret);
}

static void socket_close(void *ctx)
{
    struct peer *peer = ctx;
    if (peer->pagemap >= 0)
        close(peer->pagemap);
    free(peer);
}

static bool open_peer(int fd, pid_t tid, struct memory_source *ret)
{
    struct peer *peer = malloc(sizeof(*peer));
    if (!peer)
        return false;
    *peer = (struct peer){.fd = fd, .tid = tid, .pagemap = proc_open_pagemap(tid)};
    *ret = (struct memory_source){.name = "socket",
                                  .read = socket_read,
                                  .maps = socket_maps,
                                  .close = socket_close,
                                  .ctx = peer,
                                  .proc = socket_proc,
                                  .resident = socket_resident};
    return true;
}

bool source_open_socket(int fd, struct memory_source *ret)
{
    return open_peer(fd, 0, ret);
}

bool source_open_best(int pid, int tid, int fd, uint64_t probe_addr, struct memory_source *ret)
{
    char probe;
    struct memory_source source;
    if (source_open_process(pid, tid, &source)) {
        if (source.read(source.ctx, probe_addr, &probe, 1) == 1) {
            *ret = source;
            return true;
        }
        source.close(source.ctx);
    }
    return fd >= 0 && open_peer(fd, tid > 0 ? tid : pid, ret);
}
