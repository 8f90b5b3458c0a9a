/* SPDX-License-Identifier: MIT */
/* Recordings in memory, in bytes and in files; damaged files by the rows below, one expected message each. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/format/damage.h"
#include "tests/unit/recording_fixture.h"

static struct recording *rec;
static unsigned char *bytes;
static size_t length;
static char directory[64];

static void setup(void)
{
    strcpy(directory, "/tmp/check_recording.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    rec = fixture_recording();
    ck_assert_int_eq(recording_encode(rec, &bytes, &length), FORMAT_OK);
}

static void teardown(void)
{
    char line[128];
    recording_free(rec);
    free(bytes);
    ck_assert_int_eq(chdir("/"), 0);
    snprintf(line, sizeof line, "rm -rf '%s'", directory);
    ck_assert_int_eq(system(line), 0);
}

static void assert_refused(const unsigned char *file, size_t size, enum format_status expected,
                           const char *part)
{
    struct recording *never = NULL;
    const char *where = "";
    /* A copy of the exact size, so that the sanitizer sees a read past the end. */
    unsigned char *copy = malloc(size == 0 ? 1 : size);
    memcpy(copy, file, size);
    ck_assert_int_eq(recording_decode(copy, size, &never, &where), expected);
    ck_assert_str_eq(where, part);
    ck_assert_ptr_null(never);
    free(copy);
}

/* --- whole recordings --------------------------------------------------------------------------------------------- */

START_TEST(read_equals_what_was_written)
{
    struct recording *again = NULL;
    unsigned char *bytes2;
    size_t length2;
    ck_assert_int_eq(recording_decode(bytes, length, &again, NULL), FORMAT_OK);
    ck_assert_int_eq(again->meta.status, -1);
    ck_assert_str_eq(again->meta.command, "./leaky --twice");
    ck_assert_str_eq(again->modules[0].path, "/opt/leaky/bin/leaky");
    ck_assert_mem_eq(again->modules[0].build_id, "\xde\xad\xbe\xef", 4);
    ck_assert_str_eq(again->lines[6].function, "Holder::Holder(int)");
    ck_assert_uint_eq(again->meta.class_bytes[REC_INDIRECT], 64);
    ck_assert_uint_eq(again->edges[3].offset, 0x7d0000000040);
    ck_assert_uint_eq(again->groups[1].suppressed_by, REC_NONE);
    ck_assert(again->groups[1].aged_blocks == 2 && again->groups[1].newest_ms == 3000);
    ck_assert(again->blocks[1].has_age == 1 && again->blocks[1].age_ms == 720000);
    ck_assert_str_eq(again->notes[0], "thread 7 was not parked");
    ck_assert_int_eq(recording_encode(again, &bytes2, &length2), FORMAT_OK);
    ck_assert_uint_eq(length, length2);
    ck_assert_mem_eq(bytes, bytes2, length);
    free(bytes2);
    recording_free(again);
}
END_TEST

START_TEST(empty_recording_survives)
{
    struct recording *empty = recording_new(), *again = NULL;
    unsigned char *b;
    size_t n;
    ck_assert_int_eq(recording_encode(empty, &b, &n), FORMAT_OK);
    ck_assert_int_eq(recording_decode(b, n, &again, NULL), FORMAT_OK);
    ck_assert_uint_eq(again->groups_count, 0);
    ck_assert_uint_eq(recording_add_note(again, "added later"), true);
    free(b);
    recording_free(empty);
    recording_free(again);
}
END_TEST

START_TEST(equal_strings_are_kept_once)
{
    ck_assert_ptr_eq(rec->lines[0].file, rec->lines[1].file);
    char *big = malloc(3u << 20);
    memset(big, 'x', 3u << 20);
    big[(3u << 20) - 1] = '\0';
    ck_assert(recording_add_note(rec, big));
    ck_assert_uint_eq(strlen(rec->notes[1]), REC_STRING_MAX);
    free(big);
}
END_TEST

START_TEST(many_elements_survive)
{
    struct recording *again = NULL;
    unsigned char *b;
    size_t n;
    char name[32];
    for (uint32_t i = 0; i < 50000; i++) {
        snprintf(name, sizeof name, "function_%u", i);
        struct rec_line l = {.function = name, .file = name, .line = i};
        ck_assert_uint_ne(recording_add_line(rec, &l), REC_NONE);
    }
    ck_assert_int_eq(recording_encode(rec, &b, &n), FORMAT_OK);
    ck_assert_int_eq(recording_decode(b, n, &again, NULL), FORMAT_OK);
    ck_assert_str_eq(again->lines[again->lines_count - 1].function, "function_49999");
    free(b);
    recording_free(again);
}
END_TEST

START_TEST(inconsistent_recording_is_not_written)
{
    rec->edges[0].to_block = 5;
    ck_assert_int_eq(recording_write(rec, "never.htz"), FORMAT_CORRUPT);
    ck_assert_int_eq(access("never.htz", F_OK), -1);
}
END_TEST

/* --- files ---------------------------------------------------------------------------------------------------------- */

static int files_here(void)
{
    int n = -1;
    FILE *p = popen("ls -A | wc -l", "r");
    ck_assert_int_eq(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

START_TEST(file_is_replaced_whole_and_nothing_is_left_beside)
{
    struct recording *again = NULL;
    ck_assert_int_eq(recording_write(rec, "a.htz"), FORMAT_OK);
    ck_assert_int_eq(recording_write(rec, "a.htz"), FORMAT_OK);
    ck_assert_int_eq(files_here(), 1);
    ck_assert_int_eq(recording_read("a.htz", &again, NULL), FORMAT_OK);
    recording_free(again);
}
END_TEST

/* A pipe of our own stands for /dev/null and its like: were the code wrong, root would rename over the real one. */
START_TEST(link_is_followed_and_pipe_is_kept)
{
    struct stat st;
    ck_assert_int_eq(recording_write(rec, "a.htz"), FORMAT_OK);
    ck_assert_int_eq(symlink("a.htz", "link.htz"), 0);
    ck_assert_int_eq(recording_write(rec, "link.htz"), FORMAT_OK);
    ck_assert_int_eq(lstat("link.htz", &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    int fd = open("pipe", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(recording_write(rec, "pipe"), FORMAT_OK);
    ck_assert_int_eq(stat("pipe", &st), 0);
    ck_assert(S_ISFIFO(st.st_mode));
    close(fd);
}
END_TEST

START_TEST(unwritable_places_say_so_and_leave_nothing)
{
    ck_assert_int_eq(recording_write(rec, "no/such/folder.htz"), FORMAT_IO);
    ck_assert_int_eq(errno, ENOENT);
    ck_assert_int_eq(recording_write(rec, "."), FORMAT_IO);
    /* As a full disk: the file may be no longer than its header. */
    const struct rlimit small = {HTZ_HEADER_SIZE, HTZ_HEADER_SIZE};
    ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    ck_assert_int_eq(recording_write(rec, "a.htz"), FORMAT_IO);
    ck_assert_int_eq(errno, EFBIG);
    ck_assert_int_eq(files_here(), 0);
}
END_TEST

START_TEST(unreadable_places_say_so)
{
    struct recording *never = NULL;
    ck_assert_int_eq(recording_read("missing.htz", &never, NULL), FORMAT_IO);
    ck_assert_int_eq(errno, ENOENT);
    ck_assert_int_eq(recording_read(".", &never, NULL), FORMAT_IO);
    ck_assert_int_eq(recording_read("/dev/zero", &never, NULL), FORMAT_FOREIGN);
    ck_assert_ptr_null(never);
}
END_TEST

/* --- damage --------------------------------------------------------------------------------------------------------- */

START_TEST(foreign_files_are_foreign)
{
    assert_refused((const unsigned char *)"\x7f"
                                          "ELF and so on, long enough for a header of ours",
                   48, FORMAT_FOREIGN, "header");
    assert_refused((const unsigned char *)"{", 1, FORMAT_FOREIGN, "header");
    bytes[4] = '\n'; /* what a text-mode transfer does */
    assert_refused(bytes, length, FORMAT_FOREIGN, "header");
}
END_TEST

START_TEST(every_shorter_file_is_truncated)
{
    for (size_t n = 0; n < length; n++)
        assert_refused(bytes, n, FORMAT_TRUNCATED, "header");
}
END_TEST

START_TEST(later_major_version_is_too_new)
{
    put_u16(bytes + HTZ_AT_MAJOR, HTZ_MAJOR + 1);
    assert_refused(bytes, length, FORMAT_CORRUPT, "header"); /* a flipped bit is no news from the future */
    damage_fix_header(bytes);
    assert_refused(bytes, length, FORMAT_TOO_NEW, "header");
    assert_refused(bytes, HTZ_HEADER_SIZE, FORMAT_TOO_NEW, "header");
}
END_TEST

START_TEST(every_flipped_header_bit_is_refused)
{
    for (size_t bit = HTZ_MAGIC_SIZE * 8; bit < HTZ_HEADER_SIZE * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_refused(bytes, length, FORMAT_CORRUPT, "header");
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}
END_TEST

START_TEST(bytes_after_the_end_are_corrupt)
{
    unsigned char *longer = calloc(1, length + 1);
    memcpy(longer, bytes, length);
    assert_refused(longer, length + 1, FORMAT_CORRUPT, "header");
    free(longer);
}
END_TEST

START_TEST(damage_of_each_section_names_it)
{
    for (uint32_t id = SECTION_META; id < SECTION_END; id++) {
        struct opened o = damage_open(bytes);
        size_t n;
        damage_section(&o, id)[0] ^= 0x40; /* the checksum no longer fits */
        unsigned char *file = damage_close(&o, &n);
        assert_refused(file, n, FORMAT_CORRUPT, layout_section(id)->name);
        free(file);
        free(o.payload);
    }
}
END_TEST

START_TEST(missing_and_doubled_sections_are_named)
{
    for (uint32_t id = SECTION_META; id < SECTION_END; id++) {
        struct opened o = damage_open(bytes);
        size_t n;
        put_u32(damage_entry(&o, id), 999); /* as a section of a later minor version: skipped */
        damage_fix_toc(&o);
        unsigned char *file = damage_close(&o, &n);
        assert_refused(file, n, FORMAT_CORRUPT, layout_section(id)->name);
        free(file);
        free(o.payload);
    }
    struct opened o = damage_open(bytes);
    size_t n;
    memcpy(damage_entry(&o, SECTION_ROOTS), damage_entry(&o, SECTION_EDGES), HTZ_TOC_ENTRY_SIZE);
    damage_fix_toc(&o);
    unsigned char *file = damage_close(&o, &n);
    assert_refused(file, n, FORMAT_CORRUPT, "edges");
    free(file);
    free(o.payload);
}
END_TEST

/* With every checksum right, one number set to something impossible. */
static const struct {
    enum section_id section;
    uint32_t at; /* in the section's first element */
    uint32_t value;
    const char *part;
} wrong_numbers[] = {
    {SECTION_META, 0, 0x7fffffff, "meta"}, /* program: no such string */
    {SECTION_META, 4, 2, "meta"},          /* command: the middle of one */
    {SECTION_META, 40, 3, "meta"},         /* verdict */
    {SECTION_MODULES, 0, 0xffffffff, "modules"},
    {SECTION_MODULES, 68, 33, "modules"},    /* build id longer than its room */
    {SECTION_LINES, 4, 0xfffffff0, "lines"}, /* file */
    {SECTION_FRAMES, 8, 2, "frames"},        /* module */
    {SECTION_FRAMES, 12, 0xffffffff, "frames"},
    {SECTION_FRAMES, 16, 8, "frames"}, /* one line too many */
    {SECTION_FRAME_LIST, 0, 7, "frame list"},
    {SECTION_SITES, 0, 0xffffffff, "sites"},
    {SECTION_SITES, 4, 0xffffffff, "sites"},
    {SECTION_SITES, 8, 4, "sites"}, /* end */
    {SECTION_GROUPS, 0, REC_CLASSES, "groups"},
    {SECTION_GROUPS, 4, 2, "groups"},  /* site */
    {SECTION_GROUPS, 8, 7, "groups"},  /* kind */
    {SECTION_GROUPS, 80, 6, "groups"}, /* first block */
    {SECTION_GROUPS, 84, 0x80000000, "groups"},
    {SECTION_GROUPS, 92, 5, "groups"},       /* edges */
    {SECTION_GROUPS, 96, 2, "groups"},       /* more blocks with an age than blocks */
    {SECTION_GROUPS, 112, 720001, "groups"}, /* the newest is older than the oldest */
    {SECTION_BLOCKS, 24, 2, "blocks"},       /* site */
    {SECTION_BLOCKS, 28, 99, "blocks"},      /* kind */
    {SECTION_BLOCKS, 48, 2, "blocks"},       /* neither with an age nor without */
    {SECTION_EDGES, 0, 5, "edges"},          /* from block */
    {SECTION_EDGES, 0, REC_NONE, "edges"},   /* no holder at all */
    {SECTION_EDGES, 4, 0, "edges"},          /* two holders */
    {SECTION_EDGES, 8, REC_NONE, "edges"},   /* to nothing */
    {SECTION_ROOTS, 0, 2, "roots"},
    {SECTION_NOTES, 0, 0x00ffffff, "notes"},
};

START_TEST(number_out_of_range_names_its_section)
{
    struct opened o = damage_open(bytes);
    size_t n;
    put_u32(damage_section(&o, wrong_numbers[_i].section) + wrong_numbers[_i].at, wrong_numbers[_i].value);
    damage_fix_section(&o, wrong_numbers[_i].section);
    damage_fix_toc(&o);
    unsigned char *file = damage_close(&o, &n);
    assert_refused(file, n, FORMAT_CORRUPT, wrong_numbers[_i].part);
    free(file);
    free(o.payload);
}
END_TEST

/* --- older files ---------------------------------------------------------------------------------------------------- */

/* The section's elements as they were when they were so long. */
static void shorten(struct opened *o, enum section_id id, uint32_t stride)
{
    unsigned char *entry = damage_entry(o, id), *section = damage_section(o, id);
    uint32_t was = get_u32(entry + 4);
    uint64_t count = get_u64(entry + 16) / was;
    for (uint64_t i = 0; i < count; i++)
        memmove(section + i * stride, section + i * was, stride);
    put_u32(entry + 4, stride);
    put_u64(entry + 16, count * stride);
    damage_fix_section(o, id);
    damage_fix_toc(o);
}

START_TEST(a_file_of_1_0_is_read_and_says_nothing_of_ages)
{
    struct opened o = damage_open(bytes);
    struct recording *again = NULL;
    size_t n;
    shorten(&o, SECTION_GROUPS, 96);
    shorten(&o, SECTION_BLOCKS, 48);
    unsigned char *file = damage_close(&o, &n);
    ck_assert_int_eq(recording_decode(file, n, &again, NULL), FORMAT_OK);
    ck_assert(again->groups_count == 3 && again->blocks_count == 5);
    ck_assert(again->groups[1].edge_count == 3 && again->blocks[4].size == 44);
    ck_assert(again->groups[1].aged_blocks == 0 && again->groups[1].oldest_ms == 0);
    ck_assert(again->blocks[1].has_age == 0 && again->blocks[1].age_ms == 0);
    recording_free(again);
    free(file);
    shorten(&o, SECTION_GROUPS, 95);
    file = damage_close(&o, &n);
    assert_refused(file, n, FORMAT_CORRUPT, "groups");
    free(file);
    free(o.payload);
}
END_TEST

/* One number of a table entry set to something impossible. */
static const struct {
    uint32_t at;
    uint64_t value;
} wrong_entries[] = {
    {4, 0},        {4, 19},          {4, 5000},      {8, 0},  {8, UINT64_MAX},
    {8, 1u << 30}, {16, UINT64_MAX}, {16, 1u << 30}, {16, 1},
};

START_TEST(impossible_table_entry_names_its_section)
{
    struct opened o = damage_open(bytes);
    size_t n;
    unsigned char *entry = damage_entry(&o, SECTION_LINES);
    if (wrong_entries[_i].at == 4)
        put_u32(entry + 4, (uint32_t)wrong_entries[_i].value);
    else
        put_u64(entry + wrong_entries[_i].at, wrong_entries[_i].value);
    damage_fix_toc(&o);
    unsigned char *file = damage_close(&o, &n);
    assert_refused(file, n, FORMAT_CORRUPT, "lines");
    free(file);
    free(o.payload);
}
END_TEST

START_TEST(damaged_table_of_contents_is_named)
{
    static const uint32_t counts[] = {0, 11, 65, 0xffffffff};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct opened o = damage_open(bytes);
        size_t n;
        put_u32(o.payload, counts[i]);
        unsigned char *file = damage_close(&o, &n);
        assert_refused(file, n, FORMAT_CORRUPT, "table of contents");
        free(file);
        free(o.payload);
    }
}
END_TEST

START_TEST(string_without_end_is_refused)
{
    struct opened o = damage_open(bytes);
    size_t n;
    unsigned char *entry = damage_entry(&o, SECTION_STRINGS);
    damage_section(&o, SECTION_STRINGS)[get_u64(entry + 16) - 1] = 'x';
    damage_fix_section(&o, SECTION_STRINGS);
    damage_fix_toc(&o);
    unsigned char *file = damage_close(&o, &n);
    assert_refused(file, n, FORMAT_CORRUPT, "strings");
    free(file);
    free(o.payload);
}
END_TEST

START_TEST(damaged_compressed_data_is_corrupt)
{
    memset(bytes + HTZ_HEADER_SIZE, 0xff, length - HTZ_HEADER_SIZE);
    assert_refused(bytes, length, FORMAT_CORRUPT, "compressed data");
}
END_TEST

START_TEST(wrong_payload_size_is_corrupt)
{
    uint64_t size = get_u64(bytes + HTZ_AT_PAYLOAD_SIZE);
    const uint64_t lies[] = {0, size - 1, size + 1, HTZ_PAYLOAD_MAX};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        put_u64(bytes + HTZ_AT_PAYLOAD_SIZE, lies[i]);
        damage_fix_header(bytes);
        assert_refused(bytes, length, FORMAT_CORRUPT, "compressed data");
    }
    put_u64(bytes + HTZ_AT_PAYLOAD_SIZE, HTZ_PAYLOAD_MAX + 1);
    damage_fix_header(bytes);
    assert_refused(bytes, length, FORMAT_CORRUPT, "header");
}
END_TEST

/* A gigabyte of zeroes in a few kilobytes, which says that it is small: little more than it says may be touched. */
START_TEST(bomb_stops_at_the_size_it_claims)
{
    struct rusage before, after;
    size_t size = 256u << 20;
    struct opened o = {calloc(1, size), size};
    size_t n;
    unsigned char *file = damage_close(&o, &n);
    free(o.payload);
    put_u64(file + HTZ_AT_PAYLOAD_SIZE, 1u << 20);
    damage_fix_header(file);
    getrusage(RUSAGE_SELF, &before);
    assert_refused(file, n, FORMAT_CORRUPT, "compressed data");
    getrusage(RUSAGE_SELF, &after);
    ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 64 << 10);
    free(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recording");
    TCase *tc = tcase_create("recording");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, read_equals_what_was_written);
    tcase_add_test(tc, empty_recording_survives);
    tcase_add_test(tc, equal_strings_are_kept_once);
    tcase_add_test(tc, many_elements_survive);
    tcase_add_test(tc, a_file_of_1_0_is_read_and_says_nothing_of_ages);
    tcase_add_test(tc, inconsistent_recording_is_not_written);
    tcase_add_test(tc, file_is_replaced_whole_and_nothing_is_left_beside);
    tcase_add_test(tc, link_is_followed_and_pipe_is_kept);
    tcase_add_test(tc, unwritable_places_say_so_and_leave_nothing);
    tcase_add_test(tc, unreadable_places_say_so);
    tcase_add_test(tc, foreign_files_are_foreign);
    tcase_add_test(tc, every_shorter_file_is_truncated);
    tcase_add_test(tc, later_major_version_is_too_new);
    tcase_add_test(tc, every_flipped_header_bit_is_refused);
    tcase_add_test(tc, bytes_after_the_end_are_corrupt);
    tcase_add_test(tc, damage_of_each_section_names_it);
    tcase_add_test(tc, missing_and_doubled_sections_are_named);
    tcase_add_loop_test(tc, number_out_of_range_names_its_section, 0,
                        (int)(sizeof wrong_numbers / sizeof wrong_numbers[0]));
    tcase_add_loop_test(tc, impossible_table_entry_names_its_section, 0,
                        (int)(sizeof wrong_entries / sizeof wrong_entries[0]));
    tcase_add_test(tc, damaged_table_of_contents_is_named);
    tcase_add_test(tc, string_without_end_is_refused);
    tcase_add_test(tc, damaged_compressed_data_is_corrupt);
    tcase_add_test(tc, wrong_payload_size_is_corrupt);
    tcase_add_test(tc, bomb_stops_at_the_size_it_claims);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
