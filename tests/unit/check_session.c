/* SPDX-License-Identifier: MIT */
/* check_session.c - the loop round a run against targets that are nothing but sockets: polite, torn, rude, killed. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/tool/launch.h"
#include "tracer/tool/session.h"

/* What a fake target does, in a process of its own; its exit code is the program's. */
typedef int fake_target(const char *socket_path);

struct counts {
    unsigned settled, unchecked, unseen; /* unseen: behind an exec */
};

static struct {
    struct session session;
    struct listener listener;
    struct launch launch;
    struct counts counts;
} run;

static void count_settled(void *ctx, struct traced *t)
{
    struct counts *c = ctx;
    c->settled++;
    c->unchecked += !traced_was_checked(t);
    c->unseen += strstr(t->why_not, "it went on as") != NULL;
    traced_free(t);
}

static void run_target(fake_target *target)
{
    char error[512];
    ck_assert_msg(listener_open_private(&run.listener, error, sizeof(error)), "%s", error);
    ck_assert(launch_prepare(&run.launch));
    pid_t pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, &run.launch.mask, NULL);
        _exit(target(run.listener.path));
    }
    run.session = (struct session){.listener = &run.listener,
                                   .signal_fd = run.launch.signal_fd,
                                   .main_pid = pid,
                                   .main_program = "fake",
                                   .main_command = "fake target",
                                   .children = true,
                                   .settled = count_settled,
                                   .ctx = &run.counts};
    ck_assert(session_run(&run.session));
    ck_assert(run.session.main_ended);
    ck_assert_ptr_null(run.session.traced);
}

static void end_run(void)
{
    char directory[96];
    strcpy(directory, run.listener.directory);
    traced_free(run.session.main_last);
    listener_close(&run.listener);
    ck_assert_int_ne(access(directory, F_OK), 0);
}

static int exit_code(void)
{
    ck_assert(WIFEXITED(run.session.main_status));
    return WEXITSTATUS(run.session.main_status);
}

/* --- the target's side ------------------------------------------------------------------------------------------------ */

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, path);
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

static void send_message(int fd, uint16_t type, const void *body, uint32_t length)
{
    struct wire_header header = {WIRE_MAGIC, type, WIRE_VERSION, length};
    send(fd, &header, sizeof(header), MSG_NOSIGNAL);
    send(fd, body, length, MSG_NOSIGNAL);
}

static void send_hello(int fd, uint32_t recording)
{
    struct wire_hello hello = {.pid = getpid(), .tid = getpid(), .recording = recording, .program = "fake"};
    send_message(fd, WIRE_HELLO, &hello, sizeof(hello));
}

static void send_check(int fd, uint32_t reason)
{
    /* There is no allocator at this address: the check ends in "not checked", but it is a check. */
    struct wire_target target = {.reason = reason, .pid = getpid(), .tid = getpid(), .alloc_root = 8};
    send_message(fd, WIRE_CHECK, &target, sizeof(target));
}

/* 0: DONE came. A companion that has no other way asks for memory over the socket: the answer is always "unreadable". */
static int wait_for_done(int fd)
{
    struct wire_header header;
    char body[256];
    while (recv(fd, &header, sizeof(header), MSG_WAITALL) == sizeof(header)) {
        if (header.length && recv(fd, body, header.length, MSG_WAITALL) != (ssize_t)header.length)
            break;
        if (header.type == WIRE_DONE)
            return 0;
        send_message(fd, WIRE_DATA, NULL, 0);
    }
    return 1;
}

static int polite(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    send_message(fd, WIRE_NOTE, "a note", 6);
    send_check(fd, WIRE_AT_EXIT);
    return wait_for_done(fd);
}

START_TEST(target_that_asks_is_answered)
{
    run_target(polite);
    ck_assert_int_eq(exit_code(), 0);
    struct traced *t = run.session.main_last;
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->state, TRACED_GONE);
    ck_assert_str_ne(t->result, "");
    ck_assert_int_eq(t->target.reason, WIRE_AT_EXIT);
    ck_assert_uint_eq(t->notes_count, 1);
    ck_assert_uint_eq(run.counts.settled, 0);
    end_run();
}
END_TEST

static int torn(const char *path)
{
    struct {
        struct wire_header header;
        struct wire_hello hello;
    } message = {{WIRE_MAGIC, WIRE_HELLO, WIRE_VERSION, sizeof(struct wire_hello)}, {.recording = 1}};
    int fd = connect_to(path);
    for (size_t i = 0; i < sizeof(message); i++) {
        send(fd, (char *)&message + i, 1, MSG_NOSIGNAL);
        if (i % 64 == 0)
            usleep(2000);
    }
    send_check(fd, WIRE_AT_EXIT);
    return wait_for_done(fd);
}

START_TEST(message_in_single_bytes_is_read)
{
    run_target(torn);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_str_ne(run.session.main_last->result, "");
    end_run();
}
END_TEST

static int silent(const char *path)
{
    (void)path;
    return 5;
}

START_TEST(target_that_never_connects_has_no_image)
{
    run_target(silent);
    ck_assert_int_eq(exit_code(), 5);
    ck_assert_ptr_null(run.session.main_last);
    end_run();
}
END_TEST

static int rude_magic(const char *path)
{
    int fd = connect_to(path);
    send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL);
    return wait_for_done(fd) + 1;
}

static int rude_length(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    struct wire_header header = {WIRE_MAGIC, WIRE_NOTE, WIRE_VERSION, 1u << 31};
    send(fd, &header, sizeof(header), MSG_NOSIGNAL);
    return wait_for_done(fd) + 1;
}

static int rude_order(const char *path)
{
    int fd = connect_to(path);
    send_check(fd, WIRE_AT_EXIT);
    return wait_for_done(fd) + 1;
}

static int rude_again(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    send_hello(fd, 1);
    return wait_for_done(fd) + 1;
}

static int rude_after_check(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    send_check(fd, WIRE_AT_EXIT);
    int code = wait_for_done(fd);
    send(fd, "rubbish and more of it", 22, MSG_NOSIGNAL);
    return wait_for_done(fd) + 1 + code;
}

static fake_target *const rude[] = {rude_magic, rude_length, rude_order, rude_again, rude_after_check};

START_TEST(target_that_breaks_the_rules_is_closed_and_unchecked)
{
    run_target(rude[_i]);
    ck_assert_int_eq(exit_code(), 2); /* its connection ended: nobody waits for ever */
    ck_assert_str_eq(run.session.main_last->result, "");
    ck_assert_ptr_nonnull(strstr(run.session.main_last->why_not, "makes no sense"));
    end_run();
}
END_TEST

static int other_version(const char *path)
{
    struct wire_header header = {WIRE_MAGIC, WIRE_HELLO, WIRE_VERSION + 1, 4};
    int fd = connect_to(path);
    send(fd, &header, sizeof(header), MSG_NOSIGNAL);
    return wait_for_done(fd) + 1;
}

START_TEST(library_of_another_version_is_named)
{
    run_target(other_version);
    ck_assert_int_eq(exit_code(), 2);
    ck_assert_ptr_nonnull(strstr(run.session.main_last->why_not, "speaks version 2"));
    end_run();
}
END_TEST

static int two_images(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    send_check(fd, WIRE_AT_EXEC);
    int code = wait_for_done(fd);
    close(fd);
    return code + polite(path);
}

START_TEST(image_before_an_exec_settles_apart)
{
    run_target(two_images);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_uint_eq(run.counts.settled, 1);
    ck_assert_int_eq(run.session.main_last->target.reason, WIRE_AT_EXIT);
    end_run();
}
END_TEST

#define CHILDREN 60

/* As many at once as there are; what they answer is the program's exit code. */
static int children_of(fake_target *child, const char *path)
{
    int failed = 0, status;
    for (int i = 0; i < CHILDREN; i++)
        if (fork() == 0)
            _exit(child(path));
    while (wait(&status) > 0)
        failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return failed + polite(path);
}

static int before_an_exec(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    send_check(fd, WIRE_AT_EXEC);
    int code = wait_for_done(fd);
    close(fd);
    return code;
}

static int children_that_become_static(const char *path)
{
    return children_of(before_an_exec, path);
}

START_TEST(child_that_never_connects_behind_its_exec_is_unchecked)
{
    run_target(children_that_become_static);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_uint_eq(run.counts.settled, 2 * CHILDREN);
    ck_assert_uint_eq(run.counts.unseen, CHILDREN);
    end_run();
}
END_TEST

static int children_of_two_images(const char *path)
{
    return children_of(two_images, path);
}

/* Its end is there to be read before the HELLO is. */
static int says_hello_and_is_gone(const char *path)
{
    int code = before_an_exec(path);
    send_hello(connect_to(path), 1);
    return code;
}

static int children_that_are_gone(const char *path)
{
    return children_of(says_hello_and_is_gone, path);
}

/* The end of the image before the exec comes after the HELLO of the one behind it. */
static int socket_is_held(const char *path)
{
    int fd = connect_to(path), status;
    send_hello(fd, 1);
    send_check(fd, WIRE_AT_EXEC);
    int code = wait_for_done(fd);
    pid_t holder = fork();
    if (holder == 0) {
        usleep(100000);
        _exit(0);
    }
    close(fd);
    code += polite(path);
    waitpid(holder, &status, 0);
    usleep(20000);
    return code;
}

static int children_whose_socket_is_held(const char *path)
{
    return children_of(socket_is_held, path);
}

static fake_target *const seen[] = {children_of_two_images, children_that_are_gone,
                                    children_whose_socket_is_held};

START_TEST(child_that_connects_behind_its_exec_is_seen)
{
    run_target(seen[_i]);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_uint_eq(run.counts.settled, 2 * CHILDREN);
    ck_assert_uint_eq(run.counts.unseen, 0);
    end_run();
}
END_TEST

static int connects_anew(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    usleep(20000);
    close(fd);
    usleep(20000);
    return polite(path);
}

START_TEST(program_that_closed_our_socket_is_one_image)
{
    run_target(connects_anew);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_uint_eq(run.counts.settled, 0);
    ck_assert_str_ne(run.session.main_last->result, "");
    end_run();
}
END_TEST

static int without_recording(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 0);
    send_message(fd, WIRE_NOTE, "no libunwind", 12);
    send_check(fd, WIRE_AT_EXIT);
    return wait_for_done(fd);
}

START_TEST(target_without_recording_goes_on_unchecked)
{
    run_target(without_recording);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_str_eq(run.session.main_last->result, "");
    ck_assert_str_eq(run.session.main_last->notes[0], "no libunwind");
    end_run();
}
END_TEST

static int killed(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    raise(SIGKILL);
    return fd;
}

static int killed_while_frozen(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    send_check(fd, WIRE_AT_EXIT);
    raise(SIGKILL);
    return fd;
}

START_TEST(target_that_is_killed_has_no_verdict)
{
    run_target(_i ? killed_while_frozen : killed);
    ck_assert(WIFSIGNALED(run.session.main_status));
    ck_assert(!traced_was_checked(run.session.main_last));
    end_run();
}
END_TEST

static int leaves_a_child(const char *path)
{
    if (fork() == 0) {
        int fd = connect_to(path);
        send_hello(fd, 1);
        _exit(wait_for_done(fd)); /* until the session lets go */
    }
    usleep(50000);
    return polite(path);
}

START_TEST(child_left_behind_is_counted_and_let_go)
{
    run_target(leaves_a_child);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_uint_eq(run.session.still_running, 1);
    ck_assert_uint_eq(run.counts.settled, 0);
    end_run();
}
END_TEST

static int hands_on_its_connection(const char *path)
{
    int fd = connect_to(path);
    send_hello(fd, 1);
    send_check(fd, WIRE_AT_EXIT);
    int code = wait_for_done(fd);
    if (fork() == 0)
        _exit(wait_for_done(fd)); /* a raw clone: the library did not see it */
    return code;
}

START_TEST(connection_ends_with_the_program_whoever_holds_it)
{
    run_target(hands_on_its_connection);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_int_eq(run.session.main_last->state, TRACED_GONE);
    ck_assert_str_ne(run.session.main_last->result, "");
    ck_assert_uint_eq(run.session.still_running, 1);
    end_run();
}
END_TEST

static int many_children(const char *path)
{
    int failed = 0, status;
    for (int i = 0; i < CHILDREN; i++)
        if (fork() == 0)
            _exit(i % 3 == 0 ? (killed(path), 1) : polite(path));
    while (wait(&status) > 0)
        failed += WIFEXITED(status) && WEXITSTATUS(status) != 0;
    return failed + polite(path);
}

START_TEST(children_at_once_are_all_settled)
{
    run_target(many_children);
    ck_assert_int_eq(exit_code(), 0);
    ck_assert_uint_eq(run.counts.settled, CHILDREN);
    end_run();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_test(all, target_that_asks_is_answered);
    tcase_add_test(all, message_in_single_bytes_is_read);
    tcase_add_test(all, target_that_never_connects_has_no_image);
    tcase_add_loop_test(all, target_that_breaks_the_rules_is_closed_and_unchecked, 0,
                        sizeof(rude) / sizeof(rude[0]));
    tcase_add_test(all, library_of_another_version_is_named);
    tcase_add_test(all, image_before_an_exec_settles_apart);
    tcase_add_test(all, child_that_never_connects_behind_its_exec_is_unchecked);
    tcase_add_loop_test(all, child_that_connects_behind_its_exec_is_seen, 0, sizeof(seen) / sizeof(seen[0]));
    tcase_add_test(all, program_that_closed_our_socket_is_one_image);
    tcase_add_test(all, target_without_recording_goes_on_unchecked);
    tcase_add_loop_test(all, target_that_is_killed_has_no_verdict, 0, 2);
    tcase_add_test(all, child_left_behind_is_counted_and_let_go);
    tcase_add_test(all, connection_ends_with_the_program_whoever_holds_it);
    tcase_add_test(all, children_at_once_are_all_settled);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
