/* SPDX-License-Identifier: MIT */
/* check_packed.c - what was packed comes back, holes and all; what is cut short, damaged or too large does not. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/alloc_help.h"
#include "tracer/format/packed.h"

#define KIB  ((size_t)1 << 10)
#define SIZE (700 * KIB + 123) /* neither bites nor pages are full at its end */

static unsigned char bytes[SIZE];
static int file; /* in memory */

/* Words, zeros where there are holes, and noise. */
static void setup(void)
{
    uint64_t seed = 3;
    for (size_t i = 0; i < SIZE; i++)
        switch (i / (100 * KIB) % 3) {
        case 0:
            bytes[i] = (unsigned char)"reachable "[i % 10];
            break;
        case 1:
            bytes[i] = 0;
            break;
        default:
            bytes[i] = (unsigned char)help_random(&seed);
        }
    file = memfd_create("packed", 0);
    ck_assert_int_ge(file, 0);
}

static void teardown(void)
{
    close(file);
}

static size_t length_of(int fd)
{
    struct stat there;
    ck_assert_int_eq(fstat(fd, &there), 0);
    return (size_t)there.st_size;
}

static void pack(size_t from, size_t to, size_t bite)
{
    struct packer *packer = packer_new(file);
    ck_assert_ptr_nonnull(packer);
    for (size_t at = from; at < to; at += bite)
        ck_assert(packer_add(packer, bytes + at, bite < to - at ? bite : to - at));
    ck_assert(packer_end(packer));
}

static void expect_whole(size_t size)
{
    static unsigned char again[SIZE];
    int plain = packed_open(file, SIZE);
    ck_assert_int_ge(plain, 0);
    ck_assert_uint_eq(length_of(plain), size);
    ck_assert_int_eq(pread(plain, again, size, 0), (ssize_t)size);
    ck_assert_mem_eq(again, bytes, size);
    close(plain);
}

static void expect_refused(uint64_t most)
{
    errno = 0;
    ck_assert_int_eq(packed_open(file, most), -1);
    ck_assert_int_eq(errno, EBADMSG);
}

START_TEST(what_was_packed_comes_back)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 128 * KIB, SIZE};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ck_assert_int_eq(ftruncate(file, 0), 0);
        lseek(file, 0, SEEK_SET);
        ck_assert(!packed_is(file));
        pack(0, sizes[i], 10000);
        ck_assert(packed_is(file));
        ck_assert_uint_le(length_of(file), sizes[i] + 100);
        expect_whole(sizes[i]);
    }
}
END_TEST

START_TEST(holes_are_holes_again)
{
    struct stat there;
    pack(0, SIZE, SIZE);
    int plain = packed_open(file, SIZE);
    ck_assert_int_eq(fstat(plain, &there), 0);
    ck_assert_int_le(there.st_blocks * 512, (long)(SIZE - 195 * KIB)); /* of 200 */
    close(plain);
}
END_TEST

/* As 'cat' makes it, or 'pzstd', before whose frames there are some to be skipped. */
START_TEST(one_behind_the_other_are_one)
{
    static const unsigned char skipped[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
    ck_assert_int_eq(write(file, skipped, sizeof(skipped)), sizeof(skipped));
    ck_assert(packed_is(file));
    pack(0, 100000, 4096);
    pack(100000, SIZE, 4096);
    expect_whole(SIZE);
}
END_TEST

START_TEST(what_is_not_whole_is_refused)
{
    pack(0, SIZE, SIZE);
    size_t length = length_of(file);
    for (size_t cut = 1; cut < length; cut += cut < 100 ? 1 : 4999) {
        ck_assert_int_eq(ftruncate(file, (off_t)(length - cut)), 0);
        expect_refused(SIZE);
    }
    ck_assert_int_eq(ftruncate(file, 3), 0);
    ck_assert(!packed_is(file));
}
END_TEST

START_TEST(what_does_not_belong_to_it_is_refused)
{
    pack(0, SIZE, SIZE);
    ck_assert_int_eq(write(file, "more", 4), 4);
    expect_refused(SIZE);
}
END_TEST

START_TEST(a_bomb_gets_no_further_than_the_limit)
{
    static const unsigned char zeros[1 << 20];
    struct packer *packer = packer_new(file);
    for (unsigned i = 0; i < 600; i++)
        ck_assert(packer_add(packer, zeros, sizeof(zeros)));
    ck_assert(packer_end(packer));
    ck_assert_uint_lt(length_of(file), 100 * KIB);
    expect_refused(256 << 20);
    ck_assert_int_ge(close(packed_open(file, 600 << 20)), 0);
    expect_refused((600 << 20) - 1);
}
END_TEST

START_TEST(damage_is_refused)
{
    uint64_t seed = 20261129;
    printf("seed %llu\n", (unsigned long long)seed);
    pack(0, SIZE, SIZE);
    size_t length = length_of(file);
    for (unsigned i = 0; i < 300; i++) {
        unsigned char was, is;
        off_t at = (off_t)(help_random(&seed) % length);
        ck_assert_int_eq(pread(file, &was, 1, at), 1);
        is = was ^ (unsigned char)(1u << help_random(&seed) % 8);
        ck_assert_int_eq(pwrite(file, &is, 1, at), 1);
        int plain = packed_open(file, SIZE);
        if (plain >= 0) { /* of a bit that means nothing */
            close(plain);
            expect_whole(SIZE);
        } else {
            ck_assert_int_eq(errno, EBADMSG);
        }
        ck_assert_int_eq(pwrite(file, &was, 1, at), 1);
    }
    expect_whole(SIZE);
}
END_TEST

START_TEST(a_file_that_cannot_be_written_is_told)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct packer *packer = packer_new(full);
    bool added = packer_add(packer, bytes, SIZE);
    errno = 0;
    bool ended = packer_end(packer);
    ck_assert(!added || !ended);
    ck_assert_int_eq(errno, ENOSPC);
    close(full);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("packed");
    TCase *tests = tcase_create("packed");
    tcase_set_timeout(tests, 60); /* the bomb, under sanitizers */
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, what_was_packed_comes_back);
    tcase_add_test(tests, holes_are_holes_again);
    tcase_add_test(tests, one_behind_the_other_are_one);
    tcase_add_test(tests, what_is_not_whole_is_refused);
    tcase_add_test(tests, what_does_not_belong_to_it_is_refused);
    tcase_add_test(tests, a_bomb_gets_no_further_than_the_limit);
    tcase_add_test(tests, damage_is_refused);
    tcase_add_test(tests, a_file_that_cannot_be_written_is_told);
    suite_add_tcase(suite, tests);
    return help_run(suite);
}
