/* SPDX-License-Identifier: MIT */
#include "tracer/tool/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tracer/tool/elf_kind.h"

#define SHELL       "/bin/sh"
#define SCRIPT_HEAD 256 /* the kernel looks no further for "#!" lines */

/* Where the answer's one line goes. */
struct complaint {
    char *text;
    size_t size;
};

static enum tool_exit refuse(const struct complaint *c, enum tool_exit code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum tool_exit refuse(const struct complaint *c, enum tool_exit code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->text, c->size, format, args);
    va_end(args);
    return code;
}

/* --- which file
 * ------------------------------------------------------------------------------------------------ */

static bool is_runnable_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* As execvp: the first that can be run; a file that is there but may not be run is remembered, and the search
 * goes on. */
static enum tool_exit search_path(const char *name, char *ret, size_t size, const struct complaint *c)
{
    const char *path = getenv("PATH");
    char blocked[4096] = "";

    for (const char *at = path ? path : "/bin:/usr/bin"; at; at = *at ? at + 1 : NULL) {
        const char *end = strchrnul(at, ':');
        int n = snprintf(ret, size, "%.*s%s%s", (int)(end - at), at, end == at ? "./" : "/", name);
        struct stat st;
        if (n > 0 && (size_t)n < size) {
            if (is_runnable_file(ret))
                return EXIT_OK;
            if (!blocked[0] && stat(ret, &st) == 0 && S_ISREG(st.st_mode))
                snprintf(blocked, sizeof(blocked), "%s", ret);
        }
        at = end;
    }
    if (blocked[0])
        return refuse(c, EXIT_CANNOT_RUN, "%s: found as %s, which is not executable; try chmod +x", name,
                      blocked);
    return refuse(c, EXIT_NOT_FOUND, "%s: no such program in PATH", name);
}

static enum tool_exit check_plain_path(const char *path, const struct complaint *c)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        return refuse(c, missing ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "%s: %s", path,
                      missing ? "no such program" : strerror(errno));
    }
    if (S_ISDIR(st.st_mode))
        return refuse(c, EXIT_CANNOT_RUN, "%s is a directory, not a program", path);
    if (!S_ISREG(st.st_mode))
        return refuse(c, EXIT_CANNOT_RUN, "%s is not a regular file, hence no program", path);
    if (access(path, X_OK) != 0)
        return refuse(c, EXIT_CANNOT_RUN, "%s is not executable (%s); try chmod +x", path, strerror(errno));
    return EXIT_OK;
}

static enum tool_exit find_file(const char *name, char *ret, size_t size, const struct complaint *c)
{
    if (name[0] == '\0')
        return refuse(c, EXIT_NOT_FOUND, "'': no such program");
    if (!strchr(name, '/'))
        return search_path(name, ret, size, c);
    if ((size_t)snprintf(ret, size, "%s", name) >= size)
        return refuse(c, EXIT_CANNOT_RUN, "%.40s...: %s", name, strerror(ENAMETOOLONG));
    return check_plain_path(ret, c);
}

/* --- more privileges than ours: the loader then ignores LD_PRELOAD
 * ----------------------------------------------- */

static bool privileges_count(int fd)
{
    struct statvfs fs;
    return !(fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOSUID)) &&
           prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

static enum tool_exit check_privileges(int fd, const char *path, const struct complaint *c)
{
    static const char cure[] =
        "the loader would not preload anything; run it as that user, or a copy without the bit";
    struct stat st;

    if (fstat(fd, &st) != 0 || !privileges_count(fd))
        return EXIT_OK;
    if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
        return refuse(c, EXIT_CANNOT_RUN, "%s is set-user-id: %s", path, cure);
    if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
        return refuse(c, EXIT_CANNOT_RUN, "%s is set-group-id: %s", path, cure);
    if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
        return refuse(
            c, EXIT_CANNOT_RUN,
            "%s has file capabilities: the loader would not preload anything; run it as root, or a copy "
            "without them",
            path);
    return EXIT_OK;
}

/* --- what the file is
 * --------------------------------------------------------------------------------------------- */

static size_t read_file_at(void *ctx, uint64_t offset, void *buf, size_t length)
{
    ssize_t n = pread(*(int *)ctx, buf, length, (off_t)offset);
    return n > 0 ? (size_t)n : 0;
}

/* glibc's loader by its name, wherever it lives: ld-linux-x86-64.so.2, or ld-2.31.so in older trees. */
static bool is_glibc_loader(const char *interp)
{
    const char *slash = strrchr(interp, '/');
    const char *base = slash ? slash + 1 : interp;
    return strncmp(base, "ld-linux-x86-64.so", 18) == 0 || strncmp(base, "ld-2.", 5) == 0;
}

static enum tool_exit check_loader(const char *interp, const char *path, const struct complaint *c)
{
    if (strstr(interp, "ld-musl"))
        return refuse(c, EXIT_CANNOT_RUN,
                      "%s is linked with musl (loader %s); heaptally needs glibc: build it there", path,
                      interp);
    if (!is_glibc_loader(interp))
        return refuse(c, EXIT_CANNOT_RUN, "%s asks for the loader %s, which is not glibc's for x86-64", path,
                      interp);
    if (access(interp, X_OK) != 0)
        return refuse(c, EXIT_CANNOT_RUN, "%s cannot be run: its loader %s: %s", path, interp,
                      strerror(errno));
    return EXIT_OK;
}

static enum tool_exit check_elf(const struct elf_answer *elf, const char *path, const struct complaint *c)
{
    char machine[32];
    switch (elf->kind) {
    case ELF_DYNAMIC:
        return check_loader(elf->interp, path, c);
    case ELF_LOADER:
        return EXIT_OK;
    case ELF_STATIC:
        return refuse(c, EXIT_CANNOT_RUN,
                      "%s is statically linked: nothing can be preloaded into it; link it dynamically", path);
    case ELF_OTHER_CLASS:
        return refuse(c, EXIT_CANNOT_RUN, "%s is a 32-bit program (%s); heaptally records 64-bit x86-64 ones",
                      path, elf_machine_name(elf->machine, machine, sizeof(machine)));
    case ELF_OTHER_MACHINE:
        return refuse(c, EXIT_CANNOT_RUN, "%s is a program for %s; heaptally records x86-64 ones", path,
                      elf_machine_name(elf->machine, machine, sizeof(machine)));
    case ELF_NOT_PROGRAM:
        return refuse(c, EXIT_CANNOT_RUN, "%s is an ELF file but no program (an object file or a core)",
                      path);
    case ELF_DAMAGED:
    case ELF_NOT_ELF:
        break;
    }
    return refuse(c, EXIT_CANNOT_RUN, "%s cannot be run: its ELF headers are damaged", path);
}

/* "#! /usr/bin/env -S x" -> "/usr/bin/env". false: not such a line. */
static bool script_interpreter(const char *head, size_t length, char *ret, size_t size)
{
    if (length < 2 || head[0] != '#' || head[1] != '!')
        return false;
    const char *start = head + 2, *line_end = memchr(head, '\n', length);
    const char *end = line_end ? line_end : head + length;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    const char *stop = start;
    while (stop < end && *stop != ' ' && *stop != '\t' && *stop != '\0')
        stop++;
    return stop > start && (size_t)snprintf(ret, size, "%.*s", (int)(stop - start), start) < size;
}

/* What is neither ELF nor "#!" goes to the shell, unless it is binary: the kernel may know such a format
 * (binfmt_misc), but then an emulator or a runtime of it runs, and not this file. */
static bool looks_like_text(const char *head, size_t length)
{
    return length > 0 && !memchr(head, '\0', length);
}

struct step {
    char path[4096];
    bool next; /* path is to be looked at: the interpreter of a script */
    bool shell;
};

static enum tool_exit check_file(int fd, struct step *step, const struct complaint *c)
{
    char head[SCRIPT_HEAD], interpreter[SCRIPT_HEAD];
    struct elf_answer elf = elf_kind_of(&(struct elf_reader){read_file_at, &fd});
    size_t length = read_file_at(&fd, 0, head, sizeof(head));

    step->next = false;
    if (elf.kind != ELF_NOT_ELF) {
        enum tool_exit code = check_elf(&elf, step->path, c);
        return code != EXIT_OK ? code : check_privileges(fd, step->path, c);
    }
    if (script_interpreter(head, length, interpreter, sizeof(interpreter))) {
        snprintf(step->path, sizeof(step->path), "%s", interpreter);
        step->next = true;
        return EXIT_OK;
    }
    if (length > 0 && !looks_like_text(head, length))
        return refuse(c, EXIT_CANNOT_RUN, "%s cannot be run: it is neither an ELF program nor a script",
                      step->path);
    snprintf(step->path, sizeof(step->path), "%s", SHELL);
    step->next = step->shell = true;
    return EXIT_OK;
}

static enum tool_exit check_step(struct step *step, const struct complaint *c)
{
    int fd = open(step->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        /* A program that may be run but not read: let it run; when it is not what we need, nobody reports in.
         */
        step->next = false;
        return EXIT_OK;
    }
    enum tool_exit code = check_file(fd, step, c);
    close(fd);
    return code;
}

enum tool_exit target_check(const char *name, struct target *ret, char *error, size_t error_size)
{
    struct complaint c = {error, error_size};
    struct step step = {.next = true};
    enum tool_exit code = find_file(name, ret->path, sizeof(ret->path), &c);

    ret->through_shell = false;
    snprintf(step.path, sizeof(step.path), "%s", ret->path);
    for (int depth = 0; code == EXIT_OK && step.next; depth++) {
        char script[4096];
        snprintf(script, sizeof(script), "%s", step.path);
        if (depth > TARGET_SCRIPTS_MAX)
            return refuse(&c, EXIT_CANNOT_RUN, "%s: its interpreters are scripts without end", ret->path);
        code = check_step(&step, &c);
        if (depth == 0 && step.shell)
            ret->through_shell = true;
        if (code == EXIT_OK && step.next && !is_runnable_file(step.path))
            return refuse(&c, EXIT_CANNOT_RUN, "%s: its interpreter %s: %s", script, step.path,
                          strerror(errno));
    }
    return code;
}
