/* SPDX-License-Identifier: MIT */
#include "tracer/tool/frag_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tracer/tool/frag_loop.h"
#include "tracer/tool/say.h"

#define FIRST_LOOK  (64u << 10) /* live bytes from which on records are looked at */
#define TAIL_BYTES  2000
#define EXEC_FAILED "it cannot be run"

/* --- the program's output ------------------------------------------------------------------------------------ */

static const char *temporary_directory(void)
{
    const char *dir = getenv("TMPDIR");
    return dir != NULL && *dir && strchr(dir, ':') == NULL && strlen(dir) < 2000 ? dir : "/tmp";
}

/* Where stderr goes that is not shown: kept, in case the run goes wrong. */
static int keep_errors(const struct frag_runner *runner)
{
    int fd = open(temporary_directory(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : fcntl(runner->null, F_DUPFD_CLOEXEC, 3);
}

static void say_lines(char *text)
{
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line)
            say("  | %s", line);
}

static void tell_errors(int fd)
{
    char text[TAIL_BYTES + 1];
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > TAIL_BYTES ? size - TAIL_BYTES : 0;
    ssize_t n = size > 0 ? pread(fd, text, TAIL_BYTES, from) : 0;
    if (n <= 0)
        return;
    text[n] = '\0';
    say_lines(text);
}

static bool is_shown(struct frag_runner *runner)
{
    enum frag_show show = runner->options->frag.show;
    bool shown = show == FRAG_SHOW_ALL || (show == FRAG_SHOW_FIRST && !runner->shown);
    runner->shown = true;
    return shown;
}

/* --- the command beside it ------------------------------------------------------------------------------------ */

static void __attribute__((noreturn))
during_child(const struct frag_loop *loop, const char *name, const int *standard)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", loop->pid);
    setenv("FRAG_PID", pid, 1);
    setenv("FRAG_ALLOCATOR", name, 1);
    setenv("FRAG_ACCOUNTING", loop->account ? "1" : "0", 1);
    setpgid(0, 0);
    dup2(loop->runner->null, 0);
    dup2(standard[1], 1);
    dup2(standard[2], 2);
    sigprocmask(SIG_SETMASK, &loop->runner->launch.mask, NULL);
    execl("/bin/sh", "sh", "-c", loop->runner->options->frag.during, (char *)NULL);
    _exit(127);
}

static void start_during(struct frag_loop *loop, const char *name, const int *standard)
{
    if (loop->runner->options->frag.during == NULL)
        return;
    pid_t pid = fork();
    if (pid == 0)
        during_child(loop, name, standard);
    if (pid > 0)
        loop->during = pid;
    else
        loop->run->wrong = "the --during command could not be started";
}

/* --- one run -------------------------------------------------------------------------------------------------- */

static void end_leftovers(struct frag_loop *loop)
{
    if (loop->during > 0) {
        kill(-loop->during, SIGTERM);
        waitpid(loop->during, NULL, 0);
    }
    if (loop->phase != FRAG_ENDED) {
        kill(loop->pid, SIGKILL);
        waitpid(loop->pid, NULL, 0);
    }
}

static bool open_input(struct frag_runner *runner)
{
    const char *path = runner->options->frag.input;
    runner->input = path ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(runner->null, F_DUPFD_CLOEXEC, 3);
    if (runner->input < 0)
        say("%s cannot be read: %m", path ? path : "/dev/null");
    return runner->input >= 0;
}

/* The child waits at its gate, so its number is known before it runs. */
static bool start(struct frag_loop *loop, char **environment, const char *name, const int *standard)
{
    struct frag_runner *runner = loop->runner;
    struct launch *launch = &runner->launch;
    launch->standard = standard;
    if (!launch_start(launch, &runner->target, runner->options->program, environment)) {
        say("%s cannot be started: %m", runner->target.path);
        return false;
    }
    loop->pid = launch->pid;
    if (loop->page != NULL)
        loop->page->pid = (uint64_t)launch->pid;
    loop->began = frag_now();
    loop->watch = (struct frag_watch){
        .pid = loop->pid, .began = loop->began, .interval_ms = runner->options->frag.interval_ms};
    if (launch_go(launch, runner->target.path) != EXIT_OK)
        return false;
    loop->run->ran = true;
    start_during(loop, name, standard);
    return true;
}

static bool is_wrong(const struct frag_run *run)
{
    return run->wrong != NULL || run->by_signal || run->status != 0;
}

static bool run_once(struct frag_loop *loop, const char *name, char **environment)
{
    struct frag_runner *runner = loop->runner;
    if (environment == NULL || !open_input(runner))
        return false;
    bool shown = is_shown(runner);
    int errors = shown ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3) : keep_errors(runner);
    int standard[3] = {runner->input, shown ? errors : runner->null, errors};
    bool ok = start(loop, environment, name, standard);
    if (ok) {
        ok = frag_loop_follow(loop);
        end_leftovers(loop);
        if (!shown && is_wrong(loop->run) && runner->interrupted == 0)
            tell_errors(errors);
    }
    close(errors);
    close(runner->input);
    return ok;
}

bool frag_run_timed(struct frag_runner *runner, const char *name, const char *library, bool ours,
                    struct frag_run *run)
{
    const char *settings = ours && runner->options->settings ? runner->options->settings : "";
    struct frag_loop loop = {.runner = runner, .run = run};
    char **environment = launch_environment(environ, library, settings);
    bool ok = run_once(&loop, name, environment);
    free(environment);
    return ok;
}

/* --- the accounting run ----------------------------------------------------------------------------------------- */

static struct account_page *make_page(char *path, size_t size)
{
    snprintf(path, size, "%s/heaptally-account-XXXXXX", temporary_directory());
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return NULL;
    struct account_page *page = MAP_FAILED;
    if (ftruncate(fd, sizeof(*page)) == 0)
        page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) {
        unlink(path);
        return NULL;
    }
    *page = (struct account_page){.magic = ACCOUNT_MAGIC,
                                  .version = ACCOUNT_VERSION,
                                  .size = sizeof(*page),
                                  .companion = (uint64_t)getpid(),
                                  .first_trigger = FIRST_LOOK};
    return page;
}

static void take_counts(struct frag_account *account, const struct account_page *page)
{
    account->peak_bytes = page->peak_bytes;
    account->peak_blocks = page->peak_blocks;
    account->allocations = page->allocations;
    account->frees = page->frees;
    account->asked_bytes = page->asked_bytes;
    if (account->has_end)
        return;
    account->end_bytes = account->run.end.live;
    account->end_blocks = page->live_blocks;
}

bool frag_run_account(struct frag_runner *runner, const char *library, struct frag_account *account)
{
    char path[4096], settings[8192];
    struct account_page *page = make_page(path, sizeof(path));
    if (page == NULL) {
        say("no file for the accounting in %s: %m", temporary_directory());
        return false;
    }
    const char *own = runner->options->settings;
    snprintf(settings, sizeof(settings), "account=%s%s%s", path, own ? ":" : "", own ? own : "");
    struct frag_loop loop = {.runner = runner, .run = &account->run, .account = account, .page = page};
    char **environment = launch_environment(environ, library, settings);
    bool ok = run_once(&loop, "heaptally", environment);
    free(environment);
    unlink(path);
    take_counts(account, page);
    munmap(page, sizeof(*page));
    return ok;
}
