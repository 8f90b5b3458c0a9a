/* SPDX-License-Identifier: MIT */
/*
 * companion.c - a companion made of nothing: runs a program, speaks the protocol of wire.h, prints what it was told.
 *
 *    companion [-s] [-d] SETTINGS PROGRAM ARGS...
 *      -s   also ask the program for a snapshot, a while after its HELLO
 *      -d   hang up at the first CHECK instead of answering
 *
 * Prints one line an event (stdout is the program's, so: descriptor 9), in the order in which they came:
 *    hello main|child generation=N
 *    note TEXT
 *    check main|child|copy REASON status=N threads=N parked=N unparked=N [word=N] [readable=N] [rbx] [BAD: ...]
 *    ended code=N | ended signal=N
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocator/layout.h"
#include "tracer/format/tables.h"
#include "tests/preload/exit_ways/ways.h"
#include "tracer/format/wire.h"

#define CONNECTIONS 64
#define SNAPSHOT_MS 300

static struct pollfd fds[CONNECTIONS];
static int fd_count;
static pid_t child;
static bool asks_snapshot, hangs_up;
static int snapshot_listener = -1;
static FILE *out;

static bool receive(int fd, void *buffer, size_t length)
{
    for (char *at = buffer; length;) {
        ssize_t n = recv(fd, at, length, 0);
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

static bool send_message(int fd, enum wire_type type, const void *body, uint32_t length)
{
    struct wire_header header = {WIRE_MAGIC, (uint16_t)type, WIRE_VERSION, length};
    return send(fd, &header, sizeof(header), MSG_NOSIGNAL) == sizeof(header) &&
           (!length || send(fd, body, length, MSG_NOSIGNAL) == (ssize_t)length);
}

/* The bytes that could be read from the front. */
static size_t read_target(int fd, uint64_t addr, void *buffer, size_t length)
{
    struct wire_read request = {.addr = addr, .length = (uint32_t)length};
    struct wire_header header;
    if (!send_message(fd, WIRE_READ, &request, sizeof(request)) || !receive(fd, &header, sizeof(header)) ||
        header.type != WIRE_DATA || header.length > length || !receive(fd, buffer, header.length))
        return 0;
    return header.length;
}

/* --- what a CHECK is worth ------------------------------------------------------------------------------ */

static bool maps_look_right(int fd)
{
    static char piece[WIRE_MAX_LENGTH + 1];
    struct wire_header header;
    bool library = false, stack = false;
    if (!send_message(fd, WIRE_MAPS, NULL, 0))
        return false;
    while (receive(fd, &header, sizeof(header)) && header.type == WIRE_DATA &&
           header.length < sizeof(piece)) {
        if (!header.length)
            return library && stack;
        if (!receive(fd, piece, header.length))
            return false;
        piece[header.length] = '\0';
        library = library || strstr(piece, "libheaptally.so");
        stack = stack || strstr(piece, "[stack]");
    }
    return false;
}

static void look_at_threads(int fd, const struct wire_target *target)
{
    unsigned states[4] = {0}, rbx = 0, strange = 0;
    for (uint32_t i = 0; i < target->thread_count; i++) {
        struct thread_slot slot;
        if (read_target(fd, target->threads + i * sizeof(slot), &slot, sizeof(slot)) != sizeof(slot)) {
            strange++;
            continue;
        }
        states[slot.state < 4 ? slot.state : 0]++;
        rbx += slot.registers[3] == WAYS_RBX && (slot.live_registers >> 3 & 1);
        bool known = slot.state != THREAD_UNPARKED;
        strange += slot.tid <= 0 || (known && (!slot.fs_base || !slot.ip || !slot.registers[THREAD_RSP]));
        strange += slot.state == THREAD_SELF && i != 0;
        strange +=
            slot.vector_size && (slot.vector_size < THREAD_FXSAVE || slot.vector_size > THREAD_XSAVE_MAX ||
                                 !known || slot.vector_start % 16);
    }
    fprintf(out, " threads=%u parked=%u unparked=%u", target->thread_count, states[THREAD_PARKED],
            states[THREAD_UNPARKED]);
    if (rbx)
        fprintf(out, " rbx");
    if (strange || states[0] || states[THREAD_SELF] != 1)
        fprintf(out, " BAD: threads");
}

/* The page that some of the programs map: a counter in its first word, and a pattern around a hole. */
static void look_at_page(int fd)
{
    static unsigned char pages[WAYS_PAGES * 4096];
    uint64_t word = 0;
    if (read_target(fd, WAYS_PAGE, &word, sizeof(word)) == sizeof(word))
        fprintf(out, " word=%llu", (unsigned long long)word);
    uint64_t again = word;
    usleep(5000);
    if (read_target(fd, WAYS_PAGE, &again, sizeof(again)) == sizeof(again) && again != word)
        fprintf(out, " BAD: it runs");
    size_t n = read_target(fd, WAYS_PAGE + 4096 + 5, pages, sizeof(pages));
    if (n)
        fprintf(out, " readable=%zu", n);
    for (size_t i = 0; i < n; i++) {
        if (pages[i] != WAYS_PATTERN(i)) {
            fprintf(out, " BAD: byte %zu", i);
            break;
        }
    }
}

static void look_at_tables(int fd, const struct wire_target *target)
{
    uint64_t magic = 0;
    if (read_target(fd, target->alloc_root, &magic, sizeof(magic)) != sizeof(magic) ||
        memcmp(&magic, LAYOUT_MAGIC, 8) != 0)
        fprintf(out, " BAD: allocator");
    if (read_target(fd, target->record_root, &magic, sizeof(magic)) != sizeof(magic) || magic != RECORD_MAGIC)
        fprintf(out, " BAD: record");
    if (read_target(fd, 0, &magic, sizeof(magic)) || read_target(fd, ~0ull - 3, &magic, sizeof(magic)) ||
        read_target(fd, 0xdead000000000000, &magic, sizeof(magic)))
        fprintf(out, " BAD: nothing was there to read");
    if (target->own_allocations > 100000000)
        fprintf(out, " BAD: allocations");
    if (target->own_start >= target->own_end || target->threads == 0 || !target->static_tls_size)
        fprintf(out, " BAD: target");
    if (!maps_look_right(fd))
        fprintf(out, " BAD: maps");
}

static const char *who(int pid)
{
    return pid == child ? "main" : "child";
}

static bool check(int fd, const struct wire_target *target, bool is_copy)
{
    static const char *const reasons[] = {"?",    "exit",   "fast_exit", "quick_exit",
                                          "exec", "signal", "request"};
    struct ucred peer;
    socklen_t size = sizeof(peer);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    fprintf(out, "check %s %s status=%d", is_copy ? "copy" : who(target->pid),
            reasons[target->reason <= 6 ? target->reason : 0], target->status);
    if (target->pid != peer.pid)
        fprintf(out, " BAD: pid");
    if (!hangs_up) {
        look_at_threads(fd, target);
        look_at_page(fd);
        look_at_tables(fd, target);
    }
    fprintf(out, "\n");
    struct wire_done done = {0};
    return !hangs_up && send_message(fd, WIRE_DONE, &done, sizeof(done));
}

/* --- connections -------------------------------------------------------------------------------------------- */

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 100) != 0) {
        perror(path);
        exit(2);
    }
    return fd;
}

static void watch(int fd)
{
    if (fd_count == CONNECTIONS) {
        fprintf(stderr, "companion: too many connections\n");
        exit(2);
    }
    fds[fd_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

/* One message; false: the connection is over. */
static bool converse(int fd, bool is_copy)
{
    struct wire_header header;
    union {
        struct wire_hello hello;
        struct wire_target target;
        char text[1024];
    } body;
    memset(&body, 0, sizeof(body));
    if (!receive(fd, &header, sizeof(header)) || header.magic != WIRE_MAGIC ||
        header.length >= sizeof(body) || !receive(fd, &body, header.length))
        return false;
    if (header.type == WIRE_CHECK)
        return check(fd, &body.target, is_copy);
    if (header.type == WIRE_NOTE)
        fprintf(out, "note %s\n", body.text);
    else if (header.type == WIRE_HELLO)
        fprintf(out, "hello %s generation=%u%s\n", who(body.hello.pid), body.hello.generation,
                body.hello.recording && !strcmp(body.hello.program, "ways") ? "" : " (other)");
    else
        fprintf(out, "BAD: message %u\n", header.type);
    return true;
}

static void ask_snapshot(void)
{
    char path[64];
    union sigval value = {.sival_ptr = (void *)WIRE_SNAPSHOT_VALUE};
    snprintf(path, sizeof(path), WIRE_SNAPSHOT_PATH "%d", child);
    snapshot_listener = listen_at(path);
    watch(snapshot_listener);
    sigqueue(child, SIGRTMAX - 3, value);
}

static void serve_all(int listener, bool *ended)
{
    for (int i = 0; i < fd_count; i++) {
        if (!fds[i].revents)
            continue;
        if (fds[i].fd == listener) {
            watch(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
        } else if (fds[i].fd == snapshot_listener) {
            int fd = accept4(snapshot_listener, NULL, NULL, SOCK_CLOEXEC);
            while (converse(fd, true))
                ;
            close(fd);
        } else if (!converse(fds[i].fd, false)) {
            close(fds[i].fd);
            fds[i--] = fds[--fd_count];
        }
        *ended = false;
    }
}

static int run(int listener)
{
    int status = 0, waited = 0;
    bool gone = false, idle = false;
    while (!(gone && idle)) {
        int n = poll(fds, (nfds_t)fd_count, 20);
        idle = n == 0;
        serve_all(listener, &idle);
        if (asks_snapshot && !gone && (waited += 20) >= SNAPSHOT_MS) {
            asks_snapshot = false;
            ask_snapshot();
        }
        gone = gone || waitpid(child, &status, WNOHANG) == child;
    }
    if (WIFSIGNALED(status))
        fprintf(out, "ended signal=%d\n", WTERMSIG(status));
    else
        fprintf(out, "ended code=%d\n", WEXITSTATUS(status));
    return 0;
}

int main(int argc, char **argv)
{
    char directory[] = "/tmp/heaptally-ways-XXXXXX", path[64], settings[512];
    int option;
    while ((option = getopt(argc, argv, "+sd")) != -1) {
        asks_snapshot = asks_snapshot || option == 's';
        hangs_up = hangs_up || option == 'd';
    }
    if (argc - optind < 2 || !mkdtemp(directory))
        return 2;
    out = fdopen(9, "w");
    setvbuf(out, NULL, _IONBF, 0);
    fcntl(9, F_SETFD, FD_CLOEXEC);
    snprintf(path, sizeof(path), "%s/s", directory);
    int listener = listen_at(path);
    watch(listener);
    snprintf(settings, sizeof(settings), "record=1:socket=%s:%s", path, argv[optind]);
    child = fork();
    if (child == 0) {
        setenv("HEAPTALLY", settings, 1);
        setenv("LD_PRELOAD", getenv("LIBRARY"), 1);
        execv(argv[optind + 1], argv + optind + 1);
        _exit(127);
    }
    int result = run(listener);
    snprintf(settings, sizeof(settings), WIRE_SNAPSHOT_PATH "%d", child);
    unlink(settings);
    unlink(path);
    rmdir(directory);
    return result;
}
