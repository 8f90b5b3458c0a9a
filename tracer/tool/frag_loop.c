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
#define ROLLUP_SHARE    20.0  /* a reading is followed by so many times its cost without one */
#define ROLLUP_MOST_S   1.0   /* but not more */
#define MARK_INTERVAL_S 0.005 /* of reading the high-water mark: cheap, and no lock of the program's */
#define YOUNG_SHARE     10.0 /* samples come after this part of the program's age, until --interval is less */
#define YOUNG_LEAST_S   0.0005
#define END_PATIENCE_S  10.0 /* from SIGTERM to SIGKILL */

double frag_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double program_time(const struct frag_loop *loop)
{
    return frag_now() - loop->began - loop->paused;
}

/* --- samples ------------------------------------------------------------------------------------------------ */

static bool has_children(int pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return false;
    int c = getc(in);
    fclose(in);
    return c != EOF;
}

/* What was seen of the image before an exec is no part of the program. */
static void take_high_water(struct frag_loop *loop)
{
    uint64_t high = frag_high_water(loop->pid), image = frag_image(loop->pid);
    if (high == 0 || image == 0)
        return;
    if (image != loop->image) {
        loop->image = image;
        loop->high_water = 0;
        loop->run->curve.count = 0;
    }
    loop->high_water = high > loop->high_water ? high : loop->high_water;
}

static double processor_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* When the next reading may be, after one that took `cost` seconds of a processor. */
static double next_reading(const struct frag_loop *loop, double cost)
{
    double now = frag_now(), interval = loop->runner->options->frag.interval_ms / 1000.0;
    double young = (now - loop->began) / YOUNG_SHARE; /* a short program is to be seen, too */
    young = young < YOUNG_LEAST_S ? YOUNG_LEAST_S : young;
    interval = interval < young ? interval : young;
    cost *= ROLLUP_SHARE;
    cost = cost < ROLLUP_MOST_S ? cost : ROLLUP_MOST_S;
    return now + (interval > cost ? interval : cost);
}

/* The rollup when it is due, and `now` is in any case. */
static bool take_rollup(struct frag_loop *loop, bool now)
{
    double began = processor_time();
    if (!now && frag_now() < loop->next_rollup)
        return false;
    if (!frag_rollup_read(loop->pid, &loop->last))
        return false;
    loop->run->children |= has_children(loop->pid);
    loop->next_rollup = next_reading(loop, processor_time() - began);
    loop->sampled = true;
    return true;
}

static bool take_sample(struct frag_loop *loop, bool now)
{
    take_high_water(loop);
    bool fresh = take_rollup(loop, now);
    if (!loop->sampled || (!fresh && loop->account == NULL))
        return true;
    loop->last.s = program_time(loop);
    if (loop->page != NULL)
        loop->last.live = __atomic_load_n(&loop->page->live_bytes, __ATOMIC_RELAXED);
    if (fresh && loop->phase != FRAG_ENDING) {
        loop->run->end = loop->last;
        loop->run->has_end = true;
    }
    return loop->phase == FRAG_ENDING || frag_curve_add(&loop->run->curve, &loop->last);
}

/* --- waiting ------------------------------------------------------------------------------------------------ */

/* Until a child ends, somebody wants something, or a sample is due. */
static void wait_a_while(struct frag_loop *loop)
{
    double left = loop->next_rollup - frag_now();
    left = left < 0.0002 ? 0.0002 : left > MARK_INTERVAL_S ? MARK_INTERVAL_S : left;
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

/* The kernel's mark lags behind by what processors have not handed in, up to some hundred KiB; samples are exact. ru_maxrss
 * would hold the last word, but also every child's, and ours from before the exec. */
static uint64_t peak_of(const struct frag_loop *loop)
{
    uint64_t most = loop->high_water;
    const struct frag_curve *curve = &loop->run->curve;
    for (size_t i = 0; i < curve->count; i++)
        most = curve->at[i].rss > most ? curve->at[i].rss : most;
    return most;
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
    run->peak_rss = peak_of(loop);
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
    loop->ledger_most = 0;
    loop->run->curve.count = 0;
    account->counted = true;
    account->has_peak = account->has_end = false;
}

static bool answer_account(struct frag_loop *loop)
{
    watch_images(loop);
    uint32_t event = __atomic_load_n(&loop->page->event, __ATOMIC_ACQUIRE);
    if (event == ACCOUNT_RUNS)
        return true;
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
