/* SPDX-License-Identifier: MIT */
/*
 * check_cfi.c - rules that are read from .eh_frame are those that libunwind finds, for the functions of all objects that
 * this program has loaded; and damaged tables are refused, without a look outside of their object.
 */
#include <check.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tracer/record/cfi.h"
#include "tracer/record/modules.h"
#include "tracer/record/record.h"
#include "tracer/record/unwind.h"

#define FUNCTIONS 700u /* of an object, at most */
#define PLACES    3u   /* of a function */
#define TABLE     12u  /* bytes before the entries */
#define GUARDED   (64u << 10)
#define STACK     (1u << 20)

static uint64_t state = 88172645463325252u;

static uint32_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static void *own_blocks[64]; /* libunwind's, for LeakSanitizer */

static void keep_block(void *block)
{
    static unsigned count;

    own_blocks[count++ % 64] = block;
}

static void start_recorder(void)
{
    struct record_config config = {.depth_limit = 64, .own_block = keep_block, .trace = ""};
    const char *why = "";

    ck_assert_msg(record_start(&config, &why), "%s", why);
}

/* --- the same as libunwind ------------------------------------------------------------------------------------- */

static struct rule rule_by_libunwind(void *unwinder, uint64_t pc)
{
    static unsigned char *stack; /* zeros, and no variables */
    struct unwind_reads reads;

    if (!stack)
        stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(stack, MAP_FAILED);
    uint64_t middle = (uintptr_t)stack + STACK / 2;
    struct unwind_place at = {.ip = pc, .rsp = middle, .rbp = middle, .exact = true};

    (void)unwinder_libunwind.step(unwinder, &at, &reads);
    return rules_get(pc, modules_epoch());
}

struct counts {
    void *unwinder;
    unsigned compared, left; /* to libunwind, which found a plain rule */
};

static void compare(struct counts *counts, const struct code_object *object, uint64_t pc)
{
    struct rule read, found = rule_by_libunwind(counts->unwinder, pc);
    bool known = cfi_rule(object, pc, &read);

    counts->compared++;
    if (!known) {
        counts->left += found.kind == RULE_PLAIN;
        return;
    }
    ck_assert_msg(found.kind == RULE_PLAIN && found.cfa_from_rbp == read.cfa_from_rbp &&
                      found.cfa_offset == read.cfa_offset && found.rbp_saved == read.rbp_saved &&
                      (!read.rbp_saved || found.rbp_offset == read.rbp_offset),
                  "%s+0x%lx: kind %d, CFA %d%+d, rbp %d%+d; read: CFA %d%+d, rbp %d%+d", object->path,
                  (unsigned long)(pc - object->bias), (int)found.kind, found.cfa_from_rbp, found.cfa_offset,
                  found.rbp_saved, found.rbp_offset, read.cfa_from_rbp, read.cfa_offset, read.rbp_saved,
                  read.rbp_offset);
}

static int compare_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct code_object object;
    uint64_t header = 0;
    uint32_t count = 0;

    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
            header = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    if (header == 0 || !code_find(header, &object))
        return 0;
    memcpy(&count, (const void *)(uintptr_t)(header + 8), sizeof(count));
    uint32_t step = count / FUNCTIONS + 1;
    for (uint32_t i = next_random() % step; i + 1 < count; i += step) {
        int32_t entry[4];

        memcpy(entry, (const void *)(uintptr_t)(header + TABLE + (uint64_t)i * 8), sizeof(entry));
        uint32_t length = (uint32_t)(entry[2] - entry[0]);
        for (unsigned j = 0; j < PLACES && length > 0; j++)
            compare(arg, &object, header + (uint64_t)(int64_t)entry[0] + (j ? next_random() % length : 0));
    }
    return 0;
}

START_TEST(rules_are_those_that_libunwind_finds)
{
    struct counts counts = {.unwinder = unwinder_libunwind.new_state(keep_block)};

    printf("seed %lu\n", (unsigned long)state);
    ck_assert_ptr_nonnull(counts.unwinder);
    unwinder_libunwind.forget(counts.unwinder, modules_epoch());
    dl_iterate_phdr(compare_object, &counts);
    printf("%u compared, %u left to libunwind\n", counts.compared, counts.left);
    ck_assert_uint_gt(counts.compared, 5000);
    ck_assert_uint_lt(counts.left, counts.compared / 100);
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------ */

/* This program's own table and descriptions, up to a page that cannot be read. */
struct copy {
    unsigned char *start, *end;
    struct code_object object;
    uint64_t moved; /* from where they were */
};

static struct copy copy_of_own(void)
{
    struct code_object object;
    struct copy copy;

    ck_assert(code_find((uintptr_t)&copy_of_own, &object));
    uint64_t size = object.end - object.eh_frame_hdr;
    size = size < GUARDED ? size : GUARDED;
    unsigned char *memory =
        mmap(NULL, GUARDED + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    ck_assert_int_eq(mprotect(memory + GUARDED, 4096, PROT_NONE), 0);
    copy.end = memory + GUARDED;
    copy.start = copy.end - size;
    memcpy(copy.start, (const void *)(uintptr_t)object.eh_frame_hdr, size);
    copy.moved = (uintptr_t)copy.start - object.eh_frame_hdr;
    copy.object = object;
    copy.object.start = copy.object.tables_start = copy.object.eh_frame_hdr = (uintptr_t)copy.start;
    copy.object.end = copy.object.tables_end = (uintptr_t)copy.end;
    return copy;
}

static unsigned try_some(const struct copy *copy, unsigned count)
{
    unsigned known = 0;
    uint32_t functions;

    memcpy(&functions, copy->start + 8, sizeof(functions));
    for (unsigned i = 0; i < count; i++) {
        struct rule rule;
        int32_t function = (int32_t)next_random();
        uint64_t entry = TABLE + (uint64_t)(next_random() % (functions | 1)) * 8;

        if (entry + 4 <= (uint64_t)(copy->end - copy->start))
            memcpy(&function, copy->start + entry, sizeof(function));
        known += cfi_rule(&copy->object,
                          (uintptr_t)copy->start + (uint64_t)(int64_t)function + next_random() % 64, &rule);
    }
    return known;
}

START_TEST(damaged_tables_are_refused_or_read_inside)
{
    struct copy copy = copy_of_own();
    size_t size = (size_t)(copy.end - copy.start);

    printf("seed %lu\n", (unsigned long)state);
    ck_assert_uint_gt(try_some(&copy, 200), 100);
    for (unsigned i = 0; i < 3000; i++) {
        unsigned char old[8];
        size_t at[8];

        for (unsigned j = 0; j < 8; j++) {
            /* Where it matters: the header, the entries, the descriptions. */
            at[j] = j == 0 ? next_random() % TABLE : next_random() % size;
            old[j] = copy.start[at[j]];
            copy.start[at[j]] = (unsigned char)next_random();
        }
        (void)try_some(&copy, 20);
        if (i % 4 != 0)
            copy.start[at[0]] = old[0];
        (void)try_some(&copy, 20);
        for (unsigned j = 8; j-- > 0;)
            copy.start[at[j]] = old[j];
    }
    ck_assert_uint_gt(try_some(&copy, 200), 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cfi");
    TCase *tests = tcase_create("cfi");

    tcase_add_unchecked_fixture(tests, start_recorder, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, rules_are_those_that_libunwind_finds);
    tcase_add_test(tests, damaged_tables_are_refused_or_read_inside);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
