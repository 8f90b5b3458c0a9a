/* SPDX-License-Identifier: MIT */
/* check_target.c - programs that cannot be recorded are told apart before they run; ELF files made of text here. */
#include <check.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tracer/tool/elf_kind.h"
#include "tracer/tool/target.h"

#define LOADER "/lib64/ld-linux-x86-64.so.2"

/* A smallest possible program: header, two program headers, the loader's name, a dynamic section. */
struct tiny {
    Elf64_Ehdr head;
    Elf64_Phdr interp, dynamic;
    char loader[64];
    Elf64_Dyn entries[3];
};

static struct tiny tiny_program(const char *loader)
{
    struct tiny t = {.head = {.e_type = ET_DYN,
                              .e_machine = EM_X86_64,
                              .e_phoff = offsetof(struct tiny, interp),
                              .e_phentsize = sizeof(Elf64_Phdr),
                              .e_phnum = 2},
                     .interp = {.p_type = PT_INTERP,
                                .p_offset = offsetof(struct tiny, loader),
                                .p_filesz = strlen(loader) + 1},
                     .dynamic = {.p_type = PT_DYNAMIC,
                                 .p_offset = offsetof(struct tiny, entries),
                                 .p_filesz = sizeof(t.entries)}};
    memcpy(t.head.e_ident, ELFMAG, SELFMAG);
    t.head.e_ident[EI_CLASS] = ELFCLASS64;
    t.head.e_ident[EI_DATA] = ELFDATA2LSB;
    strcpy(t.loader, loader);
    return t;
}

struct bytes {
    const void *at;
    size_t length;
};

static size_t read_bytes(void *ctx, uint64_t offset, void *buf, size_t length)
{
    const struct bytes *b = ctx;
    if (offset >= b->length)
        return 0;
    size_t n = b->length - offset < length ? b->length - offset : length;
    memcpy(buf, (const char *)b->at + offset, n);
    return n;
}

static struct elf_answer kind_of(const void *at, size_t length)
{
    struct bytes b = {at, length};
    return elf_kind_of(&(struct elf_reader){read_bytes, &b});
}

START_TEST(dynamic_program_names_its_loader)
{
    struct tiny t = tiny_program(LOADER);
    struct elf_answer a = kind_of(&t, sizeof(t));
    ck_assert_int_eq(a.kind, ELF_DYNAMIC);
    ck_assert_str_eq(a.interp, LOADER);
}
END_TEST

START_TEST(program_without_loader_is_static)
{
    struct tiny t = tiny_program(LOADER);
    t.interp.p_type = PT_LOAD;
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind,
                     ELF_STATIC); /* static-pie: PT_DYNAMIC, but no name of its own */
    t.dynamic.p_type = PT_LOAD;
    t.head.e_type = ET_EXEC;
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind, ELF_STATIC);
}
END_TEST

START_TEST(library_with_a_name_and_no_needs_is_a_loader)
{
    struct tiny t = tiny_program(LOADER);
    t.interp.p_type = PT_LOAD;
    t.entries[0].d_tag = DT_SONAME;
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind, ELF_LOADER);
    t.entries[1].d_tag = DT_NEEDED;
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind, ELF_STATIC);
}
END_TEST

START_TEST(other_machines_are_named)
{
    struct tiny t = tiny_program(LOADER);
    char buf[32];
    t.head.e_machine = EM_AARCH64;
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind, ELF_OTHER_MACHINE);
    ck_assert_str_eq(elf_machine_name(EM_AARCH64, buf, sizeof(buf)), "aarch64");
    ck_assert_str_eq(elf_machine_name(4711, buf, sizeof(buf)), "machine 4711");
    t.head.e_machine = EM_386;
    t.head.e_ident[EI_CLASS] = ELFCLASS32;
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind, ELF_OTHER_CLASS);
    t.head.e_machine = EM_X86_64; /* x32 */
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind, ELF_OTHER_CLASS);
    t.head.e_ident[EI_DATA] = ELFDATA2MSB;
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind, ELF_OTHER_MACHINE);
}
END_TEST

START_TEST(objects_are_no_programs)
{
    struct tiny t = tiny_program(LOADER);
    t.head.e_type = ET_REL;
    ck_assert_int_eq(kind_of(&t, sizeof(t)).kind, ELF_NOT_PROGRAM);
}
END_TEST

/* Whatever is cut or overwritten, the answer comes, and only "dynamic" carries a loader that ends. */
START_TEST(damaged_headers_never_harm)
{
    for (size_t length = 0; length < sizeof(struct tiny); length++) {
        struct tiny t = tiny_program(LOADER);
        struct elf_answer a = kind_of(&t, length);
        ck_assert(length < SELFMAG ? a.kind == ELF_NOT_ELF : true);
        ck_assert(length >= SELFMAG && length < sizeof(t.head) ? a.kind == ELF_DAMAGED : true);
        for (unsigned byte = 0; byte < 256; byte += 51) {
            t = tiny_program(LOADER);
            ((unsigned char *)&t)[length] = (unsigned char)byte;
            a = kind_of(&t, sizeof(t));
            ck_assert(memchr(a.interp, '\0', sizeof(a.interp)) != NULL);
        }
    }
}
END_TEST

/* --- files ----------------------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/check_target-XXXXXX";

static const char *make_file(const char *name, const void *bytes, size_t length, mode_t mode)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, length, f), length);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
    return path;
}

static const char *make_text(const char *name, const char *text)
{
    return make_file(name, text, strlen(text), 0755);
}

static void expect(const char *name, enum tool_exit code, const char *words)
{
    struct target t;
    char error[8192] = "";
    enum tool_exit got = target_check(name, &t, error, sizeof(error));
    ck_assert_msg(got == code, "%s: code %d, not %d: %s", name, got, code, error);
    ck_assert_msg(strstr(error, words) != NULL, "%s: '%s' lacks '%s'", name, error, words);
    ck_assert_ptr_null(strchr(error, '\n'));
}

START_TEST(missing_program_is_127)
{
    expect("no-such-program-anywhere", EXIT_NOT_FOUND, "no such program in PATH");
    expect("/no/such/program", EXIT_NOT_FOUND, "no such program");
    expect("/etc/passwd/x", EXIT_NOT_FOUND, "no such program");
    expect("", EXIT_NOT_FOUND, "no such program");
}
END_TEST

START_TEST(unrunnable_file_is_126)
{
    expect("/", EXIT_CANNOT_RUN, "is a directory");
    expect(make_file("plain", "x", 1, 0644), EXIT_CANNOT_RUN, "not executable");
    expect(make_file("binary", "\0\1\2", 3, 0755), EXIT_CANNOT_RUN, "neither an ELF program nor a script");
}
END_TEST

START_TEST(path_is_searched_as_execvp_does)
{
    struct target t;
    char error[8192], path[256];
    snprintf(path, sizeof(path), "/no/such:%s", dir);
    ck_assert_int_eq(setenv("PATH", path, 1), 0);
    make_file("blocked", "x", 1, 0644);
    expect("blocked", EXIT_CANNOT_RUN, "not executable");
    make_text("found", "echo\n");
    ck_assert_int_eq(target_check("found", &t, error, sizeof(error)), EXIT_OK);
    ck_assert(t.through_shell);
    ck_assert_ptr_nonnull(strstr(t.path, "/found"));
    expect("absent", EXIT_NOT_FOUND, "PATH");
}
END_TEST

START_TEST(script_is_judged_by_its_interpreter)
{
    char line[256], loop[128];
    struct tiny t = tiny_program(LOADER);
    t.interp.p_type = PT_LOAD;
    snprintf(line, sizeof(line), "#!  %s/static with args\n", dir);
    make_file("static", &t, sizeof(t), 0755);
    expect(make_text("script", line), EXIT_CANNOT_RUN, "nothing can be preloaded");
    expect(make_text("shell", "#!/bin/sh\n"), EXIT_OK, "");
    expect(make_text("empty", ""), EXIT_OK, "");
    expect(make_text("gone", "#!/no/such/shell\n"), EXIT_CANNOT_RUN, "its interpreter /no/such/shell");
    snprintf(loop, sizeof(loop), "#!%s/loop\n", dir);
    expect(make_text("loop", loop), EXIT_CANNOT_RUN, "without end");
}
END_TEST

START_TEST(loader_of_another_library_is_refused)
{
    struct tiny t = tiny_program("/lib/ld-musl-x86_64.so.1");
    expect(make_file("musl", &t, sizeof(t), 0755), EXIT_CANNOT_RUN, "musl");
    t = tiny_program("/lib/ld.so.1");
    expect(make_file("other", &t, sizeof(t), 0755), EXIT_CANNOT_RUN, "not glibc's");
    t = tiny_program("/no/such/ld-linux-x86-64.so.2");
    expect(make_file("nowhere", &t, sizeof(t), 0755), EXIT_CANNOT_RUN, "No such file");
    t = tiny_program(LOADER);
    expect(make_file("good", &t, sizeof(t), 0755), EXIT_OK, "");
}
END_TEST

/* The bit only counts when it would change who we are: a file of another owner is needed, and that takes root. */
START_TEST(set_user_id_is_refused)
{
    struct tiny t = tiny_program(LOADER);
    const char *path = make_file("suid", &t, sizeof(t), 0755);
    if (geteuid() != 0)
        return;
    ck_assert_int_eq(chown(path, 65534, 65534), 0);
    ck_assert_int_eq(chmod(path, 04755), 0);
    expect(path, EXIT_CANNOT_RUN, "set-user-id");
    ck_assert_int_eq(chmod(path, 02755), 0);
    expect(path, EXIT_CANNOT_RUN, "set-group-id");
    ck_assert_int_eq(chmod(path, 02745),
                     0); /* without the group's x it is mandatory locking, and no privilege */
    expect(path, EXIT_OK, "");
    ck_assert_int_eq(chown(path, 0, 0), 0);
    ck_assert_int_eq(chmod(path, 04755), 0);
    expect(path, EXIT_OK, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("target");
    TCase *elf = tcase_create("elf"), *files = tcase_create("files");
    char command[64];
    if (!mkdtemp(dir))
        return EXIT_FAILURE;
    tcase_add_test(elf, dynamic_program_names_its_loader);
    tcase_add_test(elf, program_without_loader_is_static);
    tcase_add_test(elf, library_with_a_name_and_no_needs_is_a_loader);
    tcase_add_test(elf, other_machines_are_named);
    tcase_add_test(elf, objects_are_no_programs);
    tcase_add_test(elf, damaged_headers_never_harm);
    tcase_add_test(files, missing_program_is_127);
    tcase_add_test(files, unrunnable_file_is_126);
    tcase_add_test(files, path_is_searched_as_execvp_does);
    tcase_add_test(files, script_is_judged_by_its_interpreter);
    tcase_add_test(files, loader_of_another_library_is_refused);
    tcase_add_test(files, set_user_id_is_refused);
    suite_add_tcase(suite, elf);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
