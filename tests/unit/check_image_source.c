/* SPDX-License-Identifier: MIT */
/*
 * Sources of memory: this process through process_vm_readv, and a peer on a socket that behaves, lies, or dies.
 *
 * The peer is a child that answers from a page of its own, in one of the ways of enum manner.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/image/image.h"
#include "tracer/image/memory.h"

#define PAGE  4096u
#define FIRST UINT64_C(0x10000) /* what the peer says it has: [FIRST, FIRST + 3 MiB) */
#define HAS   (UINT64_C(3) << 20)

enum manner {
    BEHAVES,
    SENDS_NOTES_FIRST,
    SENDS_NOTES_FOR_EVER,
    SENDS_OTHER_MAGIC,
    SENDS_OTHER_VERSION,
    SENDS_OTHER_TYPE,
    SENDS_MORE_THAN_ASKED,
    ENDS_IN_THE_HEADER,
    ENDS_IN_THE_BODY,
    ENDS_AT_ONCE,
    MAPS_WITHOUT_END,
    MANNERS
};

static unsigned char byte_at(uint64_t addr)
{
    return (unsigned char)(addr * 7 + (addr >> 12));
}

/* --- the peer --------------------------------------------------------------------------------------------------- */

static bool send_all(int fd, const void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = send(fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (put <= 0)
            return false;
        done += (size_t)put;
    }
    return true;
}

static bool send_message(int fd, enum manner manner, enum wire_type type, const void *body, uint32_t length)
{
    struct wire_header header = {WIRE_MAGIC, (uint16_t)type, WIRE_VERSION, length};
    if (manner == SENDS_OTHER_MAGIC)
        header.magic ^= 1;
    if (manner == SENDS_OTHER_VERSION)
        header.version++;
    if (manner == SENDS_OTHER_TYPE)
        header.type = WIRE_HELLO;
    if (manner == ENDS_IN_THE_HEADER)
        return send_all(fd, &header, sizeof(header) / 2) && false;
    if (!send_all(fd, &header, sizeof(header)))
        return false;
    if (manner == ENDS_IN_THE_BODY)
        return send_all(fd, body, length / 2) && false;
    return send_all(fd, body, length);
}

static bool answer_read(int fd, enum manner manner, const struct wire_read *read)
{
    static unsigned char bytes[(1u << 20) + 64];
    uint64_t end = FIRST + HAS;
    uint32_t length = 0;
    if (read->addr >= FIRST && read->addr < end)
        length = end - read->addr < read->length ? (uint32_t)(end - read->addr) : read->length;
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = byte_at(read->addr + i);
    if (manner == SENDS_MORE_THAN_ASKED)
        length = read->length + 1;
    return send_message(fd, manner, WIRE_DATA, bytes, length);
}

static bool answer_maps(int fd, enum manner manner)
{
    static char text[1u << 20];
    static const char lines[] = "00400000-00402000 r-xp 00001000 fe:01 1234 /a\n";
    if (manner != MAPS_WITHOUT_END)
        return send_message(fd, manner, WIRE_DATA, lines, 20) &&
               send_message(fd, manner, WIRE_DATA, lines + 20, sizeof(lines) - 1 - 20) &&
               send_message(fd, manner, WIRE_DATA, NULL, 0);
    while (send_message(fd, manner, WIRE_DATA, text, sizeof(text)))
        ;
    return false;
}

static void __attribute__((noreturn)) peer_main(int fd, enum manner manner)
{
    struct wire_header header;
    struct wire_read read = {0};
    alarm(30);
    while (manner != ENDS_AT_ONCE &&
           recv(fd, &header, sizeof(header), MSG_WAITALL) == (ssize_t)sizeof(header)) {
        if (header.length && recv(fd, &read, sizeof(read), MSG_WAITALL) != (ssize_t)sizeof(read))
            break;
        for (int i = 0; manner == SENDS_NOTES_FIRST && i < 3; i++)
            send_message(fd, manner, WIRE_NOTE, "a line", 6);
        while (manner == SENDS_NOTES_FOR_EVER && send_message(fd, manner, WIRE_NOTE, "a line", 6))
            ;
        if (!(header.type == WIRE_MAPS ? answer_maps(fd, manner) : answer_read(fd, manner, &read)))
            break;
    }
    _exit(0);
}

struct talk {
    struct memory_source source;
    int fd;
    pid_t pid;
};

static void talk_begin(struct talk *talk, enum manner manner)
{
    int pair[2];
    ck_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    talk->pid = fork();
    ck_assert(talk->pid >= 0);
    if (talk->pid == 0) {
        close(pair[0]);
        peer_main(pair[1], manner);
    }
    close(pair[1]);
    talk->fd = pair[0];
    ck_assert(source_open_socket(talk->fd, &talk->source));
}

static void talk_end(struct talk *talk)
{
    talk->source.close(talk->source.ctx);
    close(talk->fd);
    ck_assert(waitpid(talk->pid, NULL, 0) == talk->pid);
}

static size_t talk_read(struct talk *talk, uint64_t addr, void *buf, size_t length)
{
    return talk->source.read(talk->source.ctx, addr, buf, length);
}

/* --- the socket ------------------------------------------------------------------------------------------------- */

static void check_bytes(const unsigned char *bytes, uint64_t addr, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != byte_at(addr + i))
            ck_abort_msg("byte %zu", i);
}

START_TEST(reads_larger_than_a_message_are_cut_and_joined)
{
    struct talk talk;
    unsigned char *bytes = malloc(HAS);
    talk_begin(&talk, _i ? SENDS_NOTES_FIRST : BEHAVES);
    ck_assert_uint_eq(talk_read(&talk, FIRST, bytes, HAS), HAS);
    check_bytes(bytes, FIRST, HAS);
    ck_assert_uint_eq(talk_read(&talk, FIRST + 3, bytes, 5), 5);
    check_bytes(bytes, FIRST + 3, 5);
    talk_end(&talk);
    free(bytes);
}
END_TEST

START_TEST(reads_stop_where_memory_ends_and_the_talk_goes_on)
{
    struct talk talk;
    unsigned char *bytes = malloc(HAS);
    talk_begin(&talk, BEHAVES);
    ck_assert_uint_eq(talk_read(&talk, FIRST + HAS - 100, bytes, HAS), 100);
    check_bytes(bytes, FIRST + HAS - 100, 100);
    ck_assert_uint_eq(talk_read(&talk, FIRST + HAS, bytes, 8), 0);
    ck_assert_uint_eq(talk_read(&talk, 0, bytes, 8), 0);
    ck_assert_uint_eq(talk_read(&talk, FIRST, bytes, 8), 8);
    talk_end(&talk);
    free(bytes);
}
END_TEST

START_TEST(maps_arrive_in_pieces)
{
    struct talk talk;
    talk_begin(&talk, _i ? SENDS_NOTES_FIRST : BEHAVES);
    char *text = talk.source.maps(talk.source.ctx);
    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, "00400000-00402000 r-xp 00001000 fe:01 1234 /a\n");
    free(text);
    talk_end(&talk);
}
END_TEST

START_TEST(a_peer_that_breaks_the_rules_reads_as_nothing_ever_after)
{
    struct talk talk;
    unsigned char bytes[64];
    talk_begin(&talk, (enum manner)_i);
    if (_i == MAPS_WITHOUT_END) {
        ck_assert_ptr_null(talk.source.maps(talk.source.ctx));
    } else {
        size_t got = talk_read(&talk, FIRST, bytes, sizeof(bytes));
        ck_assert_uint_eq(got, 0);
    }
    ck_assert_uint_eq(talk_read(&talk, FIRST, bytes, sizeof(bytes)), 0);
    ck_assert_ptr_null(talk.source.maps(talk.source.ctx));
    talk_end(&talk);
}
END_TEST

/* --- this process ----------------------------------------------------------------------------------------------- */

START_TEST(a_page_that_cannot_be_read_ends_the_read_before_it)
{
    struct memory_source source;
    unsigned char buf[4 * PAGE],
        *area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(area != MAP_FAILED);
    memset(area, 7, 4 * PAGE);
    ck_assert(mprotect(area + 2 * PAGE, PAGE, PROT_NONE) == 0);
    ck_assert(source_open_process(getpid(), getpid(), &source));
    ck_assert_uint_eq(source.read(source.ctx, (uintptr_t)area + 10, buf, sizeof(buf)), 2 * PAGE - 10);
    ck_assert_uint_eq(source.read(source.ctx, (uintptr_t)area + 2 * PAGE, buf, 1), 0);
    ck_assert_uint_eq(source.read(source.ctx, (uintptr_t)area + 3 * PAGE, buf, 100), 100);
    ck_assert_uint_eq(source.read(source.ctx, 0, buf, 8), 0);
    source.close(source.ctx);
    munmap(area, 4 * PAGE);
}
END_TEST

START_TEST(files_and_directories_of_proc_are_read)
{
    struct memory_source source;
    ck_assert(source_open_process(getpid(), getpid(), &source));
    char *text = source.proc(source.ctx, "status"), *names = source.proc(source.ctx, "fdinfo");
    ck_assert(text && strstr(text, "\nPid:"));
    ck_assert(names && strstr(names, "0\n"));
    ck_assert_ptr_null(source.proc(source.ctx, "no such file"));
    free(text);
    free(names);
    source.close(source.ctx);
}
END_TEST

START_TEST(the_best_source_is_the_one_that_can_read)
{
    struct memory_source source;
    int word = 1, pair[2];
    ck_assert(source_open_best(getpid(), getpid(), -1, (uintptr_t)&word, &source));
    ck_assert_str_eq(source.name, "process_vm_readv");
    source.close(source.ctx);
    ck_assert(!source_open_best(getpid(), getpid(), -1, 0, &source));
    ck_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    ck_assert(source_open_best(getpid(), getpid(), pair[0], 0, &source));
    ck_assert_str_eq(source.name, "socket");
    source.close(source.ctx);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* --- memory.h --------------------------------------------------------------------------------------------------- */

struct words_seen {
    uint64_t first, last, count, sum;
};

static bool see_words(void *ctx, uint64_t addr, const uint64_t *words, size_t count)
{
    struct words_seen *seen = ctx;
    if (seen->count == 0)
        seen->first = addr;
    seen->last = addr + count * 8;
    seen->count += count;
    for (size_t i = 0; i < count; i++)
        seen->sum += words[i];
    return true;
}

START_TEST(a_stream_goes_round_holes_and_leaves_out_what_nobody_touched)
{
    const size_t size = 8 * MEMORY_BITE;
    struct memory_source source;
    struct memory memory;
    struct words_seen seen = {0};
    uint64_t missing = 0;
    unsigned char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(area != MAP_FAILED);
    uint64_t *words = (uint64_t *)(void *)area, probe = (uintptr_t)&seen;
    words[1] = 100;
    words[5 * MEMORY_BITE / 8] = 20;
    words[(7 * MEMORY_BITE + PAGE) / 8] = 3;
    words[size / 8 - 1] = 1;
    ck_assert(mprotect(area + 7 * MEMORY_BITE + PAGE, PAGE, PROT_NONE) == 0);
    ck_assert(source_open_process(getpid(), getpid(), &source) && memory_open(&memory, &source, probe));
    ck_assert(memory_stream(&memory, (uintptr_t)area + 3, (uintptr_t)area + size, false, see_words, &seen,
                            &missing));
    ck_assert_uint_eq(seen.sum, 121);
    ck_assert_uint_eq(seen.count * 8, size - 8 - PAGE);
    ck_assert_uint_eq(missing, PAGE);
    ck_assert(seen.first == (uintptr_t)area + 8 && seen.last == (uintptr_t)area + size);
    seen = (struct words_seen){0};
    ck_assert(
        memory_stream(&memory, (uintptr_t)area + 3, (uintptr_t)area + size, true, see_words, &seen, NULL));
    ck_assert_uint_eq(seen.sum, 121);
    memory_close(&memory);
    source.close(source.ctx);
    munmap(area, size);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("image_source");
    TCase *tests = tcase_create("sources");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, reads_larger_than_a_message_are_cut_and_joined, 0, 2);
    tcase_add_test(tests, reads_stop_where_memory_ends_and_the_talk_goes_on);
    tcase_add_loop_test(tests, maps_arrive_in_pieces, 0, 2);
    tcase_add_loop_test(tests, a_peer_that_breaks_the_rules_reads_as_nothing_ever_after, SENDS_NOTES_FOR_EVER,
                        MANNERS);
    tcase_add_test(tests, a_page_that_cannot_be_read_ends_the_read_before_it);
    tcase_add_test(tests, files_and_directories_of_proc_are_read);
    tcase_add_test(tests, the_best_source_is_the_one_that_can_read);
    tcase_add_test(tests, a_stream_goes_round_holes_and_leaves_out_what_nobody_touched);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
