/* SPDX-License-Identifier: MIT */
/*
 * Names for addresses. Each test compiles a small program in a directory of its own, finds the address of a label in
 * it with nm, and asks for the lines there: as built, stripped, with its debug file apart, with another build id, gone.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <elfutils/libdwfl.h>

#include "tracer/report/symbols.h"

#define BIAS 0x7f1234560000ull

static char directory[64];
static struct symbols *symbols;
static struct recording *rec;

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

static bool run(const char *command)
{
    return system(command) == 0;
}

static bool has(const char *command)
{
    char line[128];
    snprintf(line, sizeof line, "command -v %s >/dev/null 2>&1", command);
    return run(line);
}

/* `here` labels an instruction inside inner, which is inlined into middle, which is inlined into outer. */
static const char c_source[] = "int counter;\n"
                               "int table[4] = {1};\n"
                               "static inline __attribute__((always_inline)) void inner(void)\n"
                               "{\n"
                               "    __asm__ volatile(\".globl here\\nhere: nop\\n\");\n" /* line 5 */
                               "    counter++;\n"
                               "}\n"
                               "static inline __attribute__((always_inline)) void middle(void)\n"
                               "{\n"
                               "    inner();\n" /* line 10 */
                               "}\n"
                               "__attribute__((noinline)) void outer(void)\n"
                               "{\n"
                               "    middle();\n" /* line 14 */
                               "}\n"
                               "int main(void)\n"
                               "{\n"
                               "    outer();\n"
                               "    return counter + table[0];\n"
                               "}\n";

static const char cxx_source[] =
    "namespace shop {\n"
    "struct Cart {\n"
    "    template <typename T> __attribute__((noinline)) int add(T item, int n)\n"
    "    {\n"
    "        __asm__ volatile(\".globl here\\nhere: nop\\n\");\n" /* line 5 */
    "        return n + (int)sizeof(item);\n"
    "    }\n"
    "};\n"
    "}\n"
    "int main() { shop::Cart c; return c.add<long>(1, 2); }\n";

static void setup(void)
{
    strcpy(directory, "/tmp/check_symbols.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    write_file("prog.c", c_source);
    write_file("prog.cc", cxx_source);
    symbols = symbols_new();
    rec = recording_new();
    ck_assert(symbols != NULL && rec != NULL);
}

static void teardown(void)
{
    symbols_free(symbols);
    recording_free(rec);
    char line[128];
    ck_assert_int_eq(chdir("/"), 0);
    snprintf(line, sizeof line, "rm -rf '%s'", directory);
    ck_assert(run(line));
}

static uint64_t address_of(const char *file, const char *symbol)
{
    char line[256];
    unsigned long long addr = 0;
    snprintf(line, sizeof line, "nm %s | awk '$3 == \"%s\" {print $1}'", file, symbol);
    FILE *p = popen(line, "r");
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(fscanf(p, "%llx", &addr), 1);
    pclose(p);
    return addr;
}

/* As the recorder sees it: the build id is what the running program had. */
static struct rec_module module_of(char *path, const char *file)
{
    struct rec_module m = {.path = path, .bias = BIAS, .start = BIAS, .end = BIAS + 0x10000};
    char line[256], hex[80] = "";
    snprintf(line, sizeof line, "readelf -n %s 2>/dev/null | awk '/Build ID/ {print $3}'", file);
    FILE *p = popen(line, "r");
    ck_assert_ptr_nonnull(p);
    if (fscanf(p, "%79s", hex) == 1)
        for (; m.build_id_length < 32 && hex[m.build_id_length * 2] != '\0'; m.build_id_length++)
            sscanf(hex + (size_t)m.build_id_length * 2, "%2hhx", &m.build_id[m.build_id_length]);
    pclose(p);
    return m;
}

static char *path_of(char *buf, size_t size, const char *file)
{
    snprintf(buf, size, "%s/%s", directory, file);
    return buf;
}

static struct rec_frame resolve(const struct rec_module *m, uint64_t addr, bool exact)
{
    struct rec_frame f = {.ip = addr + BIAS};
    ck_assert(symbols_resolve(symbols, rec, m, addr + BIAS, exact, &f));
    return f;
}

static void assert_line(const struct rec_frame *f, uint32_t i, const char *function, const char *file,
                        uint32_t number, bool inlined)
{
    ck_assert_uint_lt(i, f->line_count);
    const struct rec_line *l = &rec->lines[f->first_line + i];
    ck_assert_str_eq(l->function, function);
    const char *slash = strrchr(l->file, '/');
    ck_assert_str_eq(slash == NULL ? l->file : slash + 1, file);
    ck_assert_uint_eq(l->line, number);
    ck_assert_uint_eq(l->inlined, inlined);
}

static void assert_inlined_chain(const struct rec_frame *f)
{
    ck_assert_uint_eq(f->line_count, 3);
    assert_line(f, 0, "inner", "prog.c", 5, true);
    assert_line(f, 1, "middle", "prog.c", 10, true);
    assert_line(f, 2, "outer", "prog.c", 14, false);
}

static void assert_chain_of(const char *build)
{
    char path[128];
    ck_assert_msg(run(build), "%s", build);
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    struct rec_frame f = resolve(&m, address_of("prog", "here"), true);
    assert_inlined_chain(&f);
    /* The nop is one byte: its end is a return address whose call is at `here`. */
    f = resolve(&m, address_of("prog", "here") + 1, false);
    assert_inlined_chain(&f);
}

START_TEST(gcc_inlined_calls_are_told_apart)
{
    assert_chain_of("gcc -O2 -g prog.c -o prog");
}
END_TEST

START_TEST(non_pie_program_has_its_addresses)
{
    char path[128];
    ck_assert(run("gcc -O2 -g -no-pie prog.c -o prog"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    m.bias = 0;
    struct rec_frame f = {0};
    ck_assert(symbols_resolve(symbols, rec, &m, address_of("prog", "here"), true, &f));
    assert_inlined_chain(&f);
}
END_TEST

START_TEST(clang_dwarf_5_without_aranges)
{
    if (has("clang"))
        assert_chain_of("clang -O2 -gdwarf-5 prog.c -o prog");
}
END_TEST

START_TEST(compressed_sections)
{
    assert_chain_of("gcc -O2 -g -gz=zlib prog.c -o prog");
}
END_TEST

START_TEST(dwarf_4)
{
    assert_chain_of("gcc -O2 -gdwarf-4 prog.c -o prog");
}
END_TEST

START_TEST(split_dwarf_in_its_own_file)
{
    assert_chain_of("gcc -O2 -g -gsplit-dwarf prog.c -o prog");
}
END_TEST

START_TEST(cxx_names_are_demangled)
{
    char path[128];
    ck_assert(run("g++ -O1 -g prog.cc -o prog"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    struct rec_frame f = resolve(&m, address_of("prog", "here"), true);
    ck_assert_uint_eq(f.line_count, 1);
    assert_line(&f, 0, "int shop::Cart::add<long>(long, int)", "prog.cc", 5, false);
}
END_TEST

START_TEST(program_without_debug_information_has_symbols)
{
    char path[128];
    ck_assert(run("gcc -O2 prog.c -o prog"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    struct rec_frame f = resolve(&m, address_of("prog", "outer"), true);
    ck_assert_uint_eq(f.line_count, 1);
    ck_assert_str_eq(rec->lines[f.first_line].function, "outer");
    ck_assert_str_eq(rec->lines[f.first_line].file, "");
}
END_TEST

START_TEST(debug_file_apart_is_found_by_debuglink)
{
    char path[128];
    ck_assert(run("gcc -O2 -g prog.c -o prog"));
    uint64_t here = address_of("prog", "here");
    ck_assert(run("objcopy --only-keep-debug prog prog.debug && strip prog && "
                  "objcopy --add-gnu-debuglink=prog.debug prog"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    struct rec_frame f = resolve(&m, here, true);
    assert_inlined_chain(&f);
}
END_TEST

START_TEST(stripped_program_without_debug_file_says_nothing_wrong)
{
    char path[128];
    ck_assert(run("gcc -O2 -g prog.c -o prog"));
    uint64_t here = address_of("prog", "here");
    ck_assert(run("strip prog"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    ck_assert_uint_eq(resolve(&m, here, true).line_count, 0);
}
END_TEST

START_TEST(file_of_another_build_is_not_believed)
{
    char path[128];
    ck_assert(run("gcc -O2 -g prog.c -o prog"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    ck_assert_uint_gt(m.build_id_length, 0);
    uint64_t here = address_of("prog", "here");
    m.build_id[0] ^= 0xff;
    ck_assert_uint_eq(resolve(&m, here, true).line_count, 0);
    /* The cache must not mix the two up. */
    m.build_id[0] ^= 0xff;
    struct rec_frame f = resolve(&m, here, true);
    assert_inlined_chain(&f);
}
END_TEST

START_TEST(deleted_file_and_odd_paths_say_nothing)
{
    char path[128];
    ck_assert(run("gcc -O2 -g prog.c -o prog && mkfifo pipe"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    uint64_t here = address_of("prog", "here");
    ck_assert_int_eq(unlink("prog"), 0);
    ck_assert_uint_eq(resolve(&m, here, true).line_count, 0);
    char fifo[128], vdso[] = "[vdso]", nothing[] = "", device[] = "/dev/zero";
    m.path = path_of(fifo, sizeof fifo, "pipe");
    ck_assert_uint_eq(resolve(&m, here, true).line_count, 0);
    m.path = vdso;
    ck_assert_uint_eq(resolve(&m, here, true).line_count, 0);
    m.path = nothing;
    ck_assert_uint_eq(resolve(&m, here, true).line_count, 0);
    m.path = device;
    ck_assert_uint_eq(resolve(&m, here, true).line_count, 0);
}
END_TEST

START_TEST(address_outside_everything_says_nothing)
{
    char path[128];
    ck_assert(run("gcc -O2 -g prog.c -o prog"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    ck_assert_uint_eq(resolve(&m, 0x7fffff, true).line_count, 0);
    ck_assert_uint_eq(resolve(&m, 0, false).line_count, 0);
    ck_assert_uint_eq(resolve(&m, UINT64_MAX - BIAS, true).line_count, 0);
    struct rec_frame f = {0};
    ck_assert(symbols_resolve(symbols, rec, NULL, 42, true, &f));
    ck_assert_uint_eq(f.line_count, 0);
}
END_TEST

/* Every byte of the debug sections is somebody else's: less may be said, nothing may go wrong. */
START_TEST(damaged_debug_information_never_crashes)
{
    char path[512], line[256];
    ck_assert(run("gcc -O2 -g -Wl,--build-id=none prog.c -o prog"));
    uint64_t here = address_of("prog", "here");
    struct stat st;
    ck_assert_int_eq(stat("prog", &st), 0);
    unsigned seed = 20240117;
    printf("damaged_debug_information_never_crashes: seed %u\n", seed);
    for (int round = 0; round < 60; round++) {
        snprintf(line, sizeof line, "cp prog broken%d", round);
        ck_assert(run(line));
        snprintf(line, sizeof line, "broken%d", round);
        FILE *f = fopen(line, "r+");
        ck_assert_ptr_nonnull(f);
        for (int i = 0; i < 40; i++) {
            ck_assert_int_eq(fseek(f, 64 + rand_r(&seed) % (st.st_size - 64), SEEK_SET), 0);
            fputc(rand_r(&seed) & 0xff, f);
        }
        fclose(f);
        struct rec_module m = {.path = path_of(path, sizeof path, line), .bias = BIAS};
        resolve(&m, here, true);
    }
}
END_TEST

START_TEST(data_object_is_named_with_offset)
{
    char path[128], name[64];
    ck_assert(run("gcc -O2 -g prog.c -o prog"));
    struct rec_module m = module_of(path_of(path, sizeof path, "prog"), "prog");
    uint64_t offset = 0;
    ck_assert(
        symbols_data_name(symbols, &m, address_of("prog", "table") + 8 + BIAS, name, sizeof name, &offset));
    ck_assert_str_eq(name, "table");
    ck_assert_uint_eq(offset, 8);
    /* A function is no data, nor is what lies behind an object. */
    ck_assert(
        !symbols_data_name(symbols, &m, address_of("prog", "outer") + BIAS, name, sizeof name, &offset));
    ck_assert(!symbols_data_name(symbols, &m, address_of("prog", "table") + 4000 + BIAS, name, sizeof name,
                                 &offset));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("symbols");
    TCase *tc = tcase_create("symbols");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, gcc_inlined_calls_are_told_apart);
    tcase_add_test(tc, non_pie_program_has_its_addresses);
    tcase_add_test(tc, clang_dwarf_5_without_aranges);
    tcase_add_test(tc, compressed_sections);
    tcase_add_test(tc, dwarf_4);
    tcase_add_test(tc, split_dwarf_in_its_own_file);
    tcase_add_test(tc, cxx_names_are_demangled);
    tcase_add_test(tc, program_without_debug_information_has_symbols);
    tcase_add_test(tc, debug_file_apart_is_found_by_debuglink);
    tcase_add_test(tc, stripped_program_without_debug_file_says_nothing_wrong);
    tcase_add_test(tc, file_of_another_build_is_not_believed);
    tcase_add_test(tc, deleted_file_and_odd_paths_say_nothing);
    tcase_add_test(tc, address_outside_everything_says_nothing);
    tcase_add_test(tc, damaged_debug_information_never_crashes);
    tcase_add_test(tc, data_object_is_named_with_offset);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
