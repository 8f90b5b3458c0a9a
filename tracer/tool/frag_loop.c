/* SPDX-License-Identifier: MIT */
#include "tracer/tool/frag_loop.h"

#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIVE_INTERVAL_S 0.002 /* of reading the page in the accounting run: a load */
#define WAIT_LEAST_S    0.0002
#define WAIT_MOST_S     0.1
#define UNSEEN_S        0.1  /* a shorter run may end before it is looked at */
#define END_PATIENCE_S  10.0 /* from SIGTERM to SIGKILL */

static double program_time(const struct frag_loop *loop)
{
    return frag_now() - loop->began - loop->paused;
}

/* --- samples ------------------------------------------------------------------------------------------------ */

static bool take_sample(struct frag_loop *loop, bool now)
{
    struct frag_watch *watch = &loop->watch;
    bool fresh = frag_watch_read(watch, now);
    if (fresh && watch->renewed)
        loop->run->curve.count = 0;
    if (!watch->seen || (!fresh && loop->account == NULL) || loop->phase == FRAG_ENDING)
        return true;
    watch->last.s = program_time(loop);
    if (loop->page != NULL)
        watch->last.live = __atomic_load_n(&loop->page->live_bytes, __ATOMIC_RELAXED);
    if (fresh) {
        loop->run->end = watch->last;
        loop->run->has_end = true;
    }
    return frag_curve_add(&loop->run->curve, &watch->last);
}

/* --- waiting ------------------------------------------------------------------------------------------------ */

/* Until a child ends, somebody wants something, or a sample is due. */
static void wait_a_while(struct frag_loop *loop)
{
    double left = loop->watch.next - frag_now();
    left = left < WAIT_LEAST_S ? WAIT_LEAST_S : left > WAIT_MOST_S ? WAIT_MOST_S : left;
    if (loop->page != NULL) {
        left = left > LIVE_INTERVAL_S ? LIVE_INTERVAL_S : left;
        struct timespec limit = {.tv_nsec = (long)(left * 1e9)};
        syscall(SYS_futex, &loop->page->event, FUTEX_WAIT, ACCOUNT_RUNS, &limit, NULL, 0);
        return;
    }
    struct pollfd fd = {loop->runner->launch.signal_fd, POLLIN, 0};
    struct timespec limit = {.tv_nsec = (long)(left * 1e9)};
    ppoll(&fd, 1, &limit, NULL);
}

/* What a person sends ends the study; the program gets it as well. */
static void read_signals(struct frag_loop *loop)
{
    struct signalfd_siginfo info;
    while (read(loop->runner->launch.signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        loop->runner->interrupted = (int)info.ssi_signo;
        kill(loop->pid, (int)info.ssi_signo);
        loop->phase_until = loop->phase_until > 0 ? loop->phase_until : frag_now() + END_PATIENCE_S;
    }
}

/* --- ends --------------------------------------------------------------------------------------------------- */

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* The kernel's mark lags behind by what processors have not handed in, up to some hundred KiB; rollups are exact.
 * ru_maxrss would hold the last word, but also every child's, and ours from before the exec. */
static uint64_t peak_of(const struct frag_watch *watch)
{
    return watch->high_water > watch->most ? watch->high_water : watch->most;
}

static void note_program_end(struct frag_loop *loop, int status, const struct rusage *used)
{
    struct frag_run *run = loop->run;
    bool asked = loop->phase == FRAG_ENDING; /* then SIGTERM is what it was told */
    run->wall_s = asked ? run->wall_s : program_time(loop);
    run->user_s = seconds(used->ru_utime);
    run->system_s = seconds(used->ru_stime);
    run->by_signal = WIFSIGNALED(status) && !(asked && WTERMSIG(status) == SIGTERM);
    run->status = run->by_signal ? WTERMSIG(status) : WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    if (asked && !run->by_signal && run->status == 128 + SIGTERM)
        run->status = 0;
    run->peak_rss = peak_of(&loop->watch);
    run->children = loop->watch.children;
    if (!loop->watch.seen && run->wall_s > UNSEEN_S)
        run->wrong = "its /proc/PID/smaps_rollup could not be read";
    if (loop->during != 0)
        run->wrong = run->wrong ? run->wrong : "it ended before the --during command did";
    loop->phase = FRAG_ENDED;
}

static void note_during_end(struct frag_loop *loop, int status)
{
    loop->during = 0;
    if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        loop->run->wrong = "the --during command failed";
        loop->run->during_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (loop->phase != FRAG_RUNNING)
        return;
    loop->run->wall_s = program_time(loop);
    loop->phase = FRAG_SETTLING;
    loop->phase_until = frag_now() + loop->runner->options->frag.settle_ms / 1000.0;
}

static void reap(struct frag_loop *loop)
{
    int status;
    struct rusage used;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &used)) > 0;) {
        if (pid == loop->pid)
            note_program_end(loop, status, &used);
        else if (pid == loop->during)
            note_during_end(loop, status);
    }
}

/* The moment that counts as the end, and then the program may go. */
static bool end_program(struct frag_loop *loop)
{
    bool ok = take_sample(loop, true);
    if (loop->account != NULL)
        frag_look_end(loop);
    loop->phase = FRAG_ENDING;
    loop->phase_until = frag_now() + END_PATIENCE_S;
    kill(loop->pid, SIGTERM);
    return ok;
}

static bool step_phase(struct frag_loop *loop)
{
    bool due = loop->phase_until > 0 && frag_now() >= loop->phase_until;
    if (!due || loop->killed)
        return true;
    if (loop->phase == FRAG_SETTLING)
        return end_program(loop);
    loop->run->wrong = loop->run->wrong ? loop->run->wrong : "it did not end when asked to, and was killed";
    loop->killed = true;
    kill(loop->pid, SIGKILL);
    return true;
}

/* --- the accounting run -------------------------------------------------------------------------------------- */

/* An image that exec brought begins at zero, and what was before it was no part of the program. */
static void watch_images(struct frag_loop *loop)
{
    uint32_t images = __atomic_load_n(&loop->page->images, __ATOMIC_ACQUIRE);
    if (images == loop->images)
        return;
    struct frag_account *account = loop->account;
    loop->images = images;
    loop->ledger_most = loop->looked = 0;
    loop->run->curve.count = 0;
    account->counted = true;
    account->has_peak = account->has_end = false;
}

static bool answer_account(struct frag_loop *loop)
{
    watch_images(loop);
    uint32_t event = __atomic_load_n(&loop->page->event, __ATOMIC_ACQUIRE);
    if (event == ACCOUNT_RUNS) {
        if (loop->phase == FRAG_RUNNING && loop->watch.seen)
            frag_look_fat(loop);
        return true;
    }
    bool ok = take_sample(loop, event == ACCOUNT_END);
    frag_look_answer(loop);
    return ok;
}

bool frag_loop_follow(struct frag_loop *loop)
{
    bool ok = take_sample(loop, true);
    while (loop->phase != FRAG_ENDED && ok) {
        wait_a_while(loop);
        read_signals(loop);
        if (loop->page != NULL)
            ok &= answer_account(loop);
        reap(loop);
        if (loop->phase == FRAG_ENDED)
            break;
        ok &= take_sample(loop, false) && step_phase(loop);
    }
    return ok;
}
