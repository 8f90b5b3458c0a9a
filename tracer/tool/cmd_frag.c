/* SPDX-License-Identifier: MIT */
/*
 * cmd_frag.c - `heaptally frag PROG ARGS`: from the look at the program to the table, the JSON and the picture.
 *
 *    target, library -> which allocators -> rounds of timed runs, A B C A B C ... -> accounting run
 *                                                            -> summary -> table or JSON on stdout, picture by gnuplot
 *
 * The exit code is the program's first that was not 0, of whichever run: 120 when nothing could be counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/frag/study.h"
#include "tracer/tool/commands.h"
#include "tracer/tool/frag_objects.h"
#include "tracer/tool/frag_run.h"
#include "tracer/tool/say.h"

struct frag {
    const struct tool_options *options;
    struct frag_runner runner;
    struct frag_study *study;
    char library[4096]; /* ours */
    char note[400];     /* of the glibc baseline */
    char libc[4096];
};

/* --- which allocators ---------------------------------------------------------------------------------------- */

static bool is_wanted(const char *only, const char *name)
{
    size_t length = strlen(name);
    if (only == NULL)
        return true;
    for (const char *at = only; *at; at += *at == ',') {
        size_t word = strcspn(at, ",");
        if (word == length && strncmp(at, name, length) == 0)
            return true;
        at += word;
    }
    return false;
}

static void add_allocator(struct frag *frag, const char *name, const char *library, const char *note)
{
    struct frag_study *study = frag->study;
    if (!is_wanted(frag->options->frag.only, name) || study->count == STUDY_ALLOCATORS_MAX)
        return;
    struct frag_allocator *a = &study->allocator[study->count++];
    snprintf(a->name, sizeof(a->name), "%s", name);
    snprintf(a->library, sizeof(a->library), "%s", library ? library : "");
    a->present = library != NULL;
    a->note = note;
}

/* A program that brings another allocator would measure that one when nothing is preloaded. */
static void add_glibc(struct frag *frag)
{
    struct frag_objects objects;
    if (!frag_objects_read(&frag->runner.target, frag->options->program, &objects) ||
        objects.other[0] == '\0') {
        add_allocator(frag, "glibc", "", NULL);
        return;
    }
    snprintf(frag->libc, sizeof(frag->libc), "%s", objects.libc);
    snprintf(frag->note, sizeof(frag->note),
             "the program brings %s; libc.so.6 is preloaded, so that its malloc is measured", objects.other);
    add_allocator(frag, "glibc", frag->libc, frag->note);
}

static bool add_with(struct frag *frag, char *text)
{
    char name[32];
    char *library = strchr(text, '=') + 1;
    snprintf(name, sizeof(name), "%.*s", (int)(library - 1 - text), text);
    char *real = realpath(library, NULL);
    if (real == NULL) {
        say("--with=%s: %s", text, strerror(errno));
        return false;
    }
    add_allocator(frag, name, real, NULL);
    free(real);
    return true;
}

static bool add_allocators(struct frag *frag)
{
    char path[4096];
    const struct frag_options *options = &frag->options->frag;
    add_glibc(frag);
    if (frag_objects_find("jemalloc", path, sizeof(path)))
        add_allocator(frag, "jemalloc", path, NULL);
    else
        add_allocator(frag, "jemalloc", NULL,
                      "libjemalloc.so.2 was not found; --with=jemalloc=FILE names it");
    for (unsigned i = 0; i < options->with_count; i++)
        if (!add_with(frag, options->with[i]))
            return false;
    add_allocator(frag, "heaptally", frag->library, NULL);
    if (frag->study->count > 0)
        return true;
    say("--only=%s leaves no allocator; there are glibc, jemalloc, heaptally and those of --with",
        options->only);
    return false;
}

/* --- the runs -------------------------------------------------------------------------------------------------- */

static void tell_run(const struct frag *frag, const char *what, const struct frag_run *run)
{
    if (frag->options->quiet)
        return;
    if (run->wrong != NULL)
        say("%s: %.2f s, %s", what, run->wall_s, run->wrong);
    else if (run->by_signal || run->status != 0)
        say("%s: %.2f s, ended by %s %d", what, run->wall_s, run->by_signal ? "signal" : "exit code",
            run->status);
    else
        say("%s: %.2f s, peak RSS %.1f MiB", what, run->wall_s, (double)run->peak_rss / (1 << 20));
}

static bool run_rounds(struct frag *frag)
{
    char what[96];
    struct frag_study *study = frag->study;
    for (unsigned round = 0; round < study->rounds; round++) {
        for (unsigned i = 0; i < study->count && frag->runner.interrupted == 0; i++) {
            struct frag_allocator *a = &study->allocator[i];
            if (!a->present)
                continue;
            bool ours = strcmp(a->library, frag->library) == 0;
            if (!frag_run_timed(&frag->runner, a->name, a->library, ours, &a->run[round]))
                return false;
            a->rounds = round + 1;
            snprintf(what, sizeof(what), "round %u of %u, %s", round + 1, study->rounds, a->name);
            tell_run(frag, what, &a->run[round]);
        }
    }
    return true;
}

static bool run_account(struct frag *frag)
{
    if (frag->runner.interrupted != 0)
        return true;
    if (!frag_run_account(&frag->runner, frag->library, &frag->study->account))
        return false;
    tell_run(frag, "accounting", &frag->study->account.run);
    return true;
}

/* --- what is printed ---------------------------------------------------------------------------------------------- */

static bool write_text(FILE *out, const char *text)
{
    return fputs(text, out) >= 0 && fflush(out) == 0;
}

static bool write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");
    bool ok = out != NULL && write_text(out, text);
    if (out != NULL)
        ok &= fclose(out) == 0;
    if (!ok)
        say("%s cannot be written: %m", path);
    return ok;
}

static bool print_json(const struct frag *frag)
{
    if (!frag->options->json && frag->options->json_file == NULL)
        return true;
    char *text = study_json(frag->study);
    bool ok = text != NULL;
    if (ok && frag->options->json_file != NULL)
        ok = write_file(frag->options->json_file, text);
    if (ok && frag->options->json)
        ok = write_text(stdout, text) && putchar('\n') != EOF && fflush(stdout) == 0;
    free(text);
    return ok;
}

static bool print_table(const struct frag *frag)
{
    if (frag->options->json)
        return true;
    char *text = study_table(frag->study, frag->options->verbose);
    bool ok = text != NULL && write_text(stdout, text);
    free(text);
    return ok;
}

static char *picture_path(const struct frag *frag)
{
    char *path = NULL;
    const char *program = frag->options->program[0], *slash = strrchr(program, '/');
    if (frag->options->frag.svg != NULL)
        return strdup(frag->options->frag.svg);
    return asprintf(&path, "heaptally.%s.frag.svg", slash ? slash + 1 : program) < 0 ? NULL : path;
}

static void __attribute__((noreturn)) gnuplot_child(const struct frag *frag, int script)
{
    dup2(script, 0);
    dup2(frag->runner.null, 1);
    dup2(frag->runner.null, 2);
    sigprocmask(SIG_SETMASK, &frag->runner.launch.mask, NULL);
    execlp("gnuplot", "gnuplot", "-", (char *)NULL);
    _exit(127);
}

/* gnuplot's exit code; 127: it is not there. */
static int run_gnuplot(const struct frag *frag, const char *text)
{
    int status = 0, fd = memfd_create("heaptally-picture", MFD_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(fd, "w+") : NULL;
    if (file == NULL || !write_text(file, text) || lseek(fd, 0, SEEK_SET) != 0)
        return 126;
    pid_t pid = fork();
    if (pid == 0)
        gnuplot_child(frag, fd);
    fclose(file);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

/* A picture is a help, and its lack no failure, but when it was asked for by name. */
static bool draw(const struct frag *frag)
{
    if (frag->options->frag.no_svg)
        return true;
    char *path = picture_path(frag);
    char *script = path ? study_picture(frag->study, path, "svg") : NULL;
    int code = script ? run_gnuplot(frag, script) : 126;
    bool ok = code == 0 || frag->options->frag.svg == NULL;
    if (code == 127)
        say("no picture: gnuplot is not installed (Debian: gnuplot-nox)");
    else if (code != 0)
        say("no picture: gnuplot could not draw %s", path ? path : "it");
    else if (!frag->options->quiet)
        say("the picture is %s", path);
    free(script);
    free(path);
    return ok || code == 127;
}

/* --- the code ------------------------------------------------------------------------------------------------------- */

static int code_of_run(const struct frag_run *run)
{
    if (run->by_signal)
        return EXIT_SIGNAL_BASE + run->status;
    return run->status != 0 ? run->status : run->wrong != NULL ? EXIT_NOT_CHECKED : EXIT_OK;
}

static int code_of_study(const struct frag_study *study)
{
    for (unsigned i = 0; i < study->count; i++) {
        for (unsigned round = 0; round < study->allocator[i].rounds; round++) {
            int code = code_of_run(&study->allocator[i].run[round]);
            if (code != EXIT_OK)
                return code;
        }
    }
    int code = code_of_run(&study->account.run);
    return code != EXIT_OK || study->account.counted ? code : EXIT_NOT_CHECKED;
}

static bool prepare(struct frag *frag, int *ret_code)
{
    char error[8192] = "";
    struct frag_runner *runner = &frag->runner;
    *ret_code = target_check(frag->options->program[0], &runner->target, error, sizeof(error));
    if (*ret_code == EXIT_OK &&
        !launch_find_library(frag->library, sizeof(frag->library), error, sizeof(error)))
        *ret_code = EXIT_TOOL_FAILED;
    if (*ret_code != EXIT_OK) {
        say("%s", error);
        return false;
    }
    *ret_code = EXIT_TOOL_FAILED;
    runner->options = frag->options;
    runner->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    return runner->null >= 0 && add_allocators(frag) && launch_prepare(&runner->launch);
}

static int measure(struct frag *frag)
{
    int code;
    if (!prepare(frag, &code))
        return code;
    if (!run_rounds(frag) || !run_account(frag))
        return EXIT_TOOL_FAILED;
    if (frag->runner.interrupted != 0)
        return EXIT_SIGNAL_BASE + frag->runner.interrupted;
    study_summarize(frag->study);
    bool ok = print_table(frag) && print_json(frag);
    ok &= draw(frag);
    code = code_of_study(frag->study);
    return code != EXIT_OK || ok ? code : EXIT_TOOL_FAILED;
}

static char *joined(char **words)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (char **p = words; out != NULL && *p; p++)
        fprintf(out, "%s%s", p == words ? "" : " ", *p);
    return out != NULL && fclose(out) == 0 ? text : NULL;
}

int cmd_frag(const struct tool_options *options)
{
    struct frag frag = {.options = options, .study = calloc(1, sizeof(struct frag_study))};
    const struct frag_options *o = &options->frag;
    if (frag.study == NULL || (frag.study->command = joined(options->program)) == NULL) {
        free(frag.study);
        say("out of memory");
        return EXIT_TOOL_FAILED;
    }
    frag.study->during = o->during;
    frag.study->rounds = o->rounds;
    frag.study->interval_ms = o->interval_ms;
    frag.study->settle_ms = o->settle_ms;
    int code = measure(&frag);
    study_free(frag.study);
    return code;
}
