/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tracer/tool/frag_loop.h"

#define STOP_PATIENCE_S 1.0
#define LOOK_TRIES      5
/* The next record worth a look is this much higher: the more a look costs, the fewer there are. */
#define STEP_LEAST  1.005
#define STEP_MOST   1.03
#define FAT_STEP    1.05 /* resident bytes likewise, when live ones set no record */
#define ABOUT       1.1
#define FAT_LEAST   (1 << 20)
#define STEP_COST_S 4.0 /* a look of so many seconds would ask for a step to twice as much */

/* --- standing still --------------------------------------------------------------------------------------- */

static char thread_state(int pid, const char *tid)
{
    char path[300], text[512], *after;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", pid, tid);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return 'X';
    size_t n = fread(text, 1, sizeof(text) - 1, in);
    fclose(in);
    text[n] = '\0';
    after = strrchr(text, ')');
    return after != NULL && after[1] == ' ' ? after[2] : '?';
}

/* Threads of the process, and how many of them do not stand. */
static unsigned count_threads(int pid, unsigned *ret_moving)
{
    char path[64];
    unsigned count = 0;
    *ret_moving = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char state = thread_state(pid, entry->d_name);
        count++;
        *ret_moving += strchr("TtXZ", state) == NULL;
    }
    if (dir != NULL)
        closedir(dir);
    return count;
}

static void stop_process(int pid)
{
    unsigned moving;
    double until = frag_now() + STOP_PATIENCE_S;
    kill(pid, SIGSTOP);
    while (count_threads(pid, &moving), moving > 0 && frag_now() < until)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

/* --- looking ------------------------------------------------------------------------------------------------ */

static bool look(struct frag_loop *loop, struct frag_heap *ret)
{
    struct frag_sample sample = {0};
    if (loop->page->root == 0 || frag_heap_read(loop->pid, loop->page, ret) != HEAP_OK)
        return false;
    loop->ledger_most = ret->ledger > loop->ledger_most ? ret->ledger : loop->ledger_most;
    frag_heap_deduct_ledger(ret, loop->ledger_most);
    if (frag_rollup_read(loop->pid, &sample))
        ret->anonymous = sample.anonymous - sample.lazy_free;
    ret->s = frag_now() - loop->began - loop->paused;
    loop->looked = ret->anonymous > loop->looked ? ret->anonymous : loop->looked;
    return true;
}

static double resident_of(const struct frag_heap *heap)
{
    return (double)(heap->resident - heap->ledger);
}

/* The peak is when most was resident, to within a tenth, and of such looks the one with the most live bytes: memory that is not
 * given back is nearly as fat at the end as it was when it was needed. */
static bool is_fatter(const struct frag_heap *heap, const struct frag_account *a)
{
    double now = resident_of(heap), peak = resident_of(&a->peak);
    return !a->has_peak || now > peak * ABOUT || (now > peak / ABOUT && heap->asked > a->peak.asked);
}

/* Takes the heap over. */
static void keep_if_peak(struct frag_loop *loop, struct frag_heap *heap)
{
    struct frag_account *a = loop->account;
    if (!is_fatter(heap, a)) {
        frag_heap_free(heap);
        return;
    }
    frag_heap_free(&a->peak);
    a->peak = *heap;
    a->has_peak = true;
}

static void note_end(struct frag_loop *loop)
{
    struct frag_account *a = loop->account;
    struct frag_heap heap, copy;
    a->end_bytes = loop->page->live_bytes;
    a->end_blocks = loop->page->live_blocks;
    if (!look(loop, &heap))
        return;
    frag_heap_free(&a->end);
    a->end = heap;
    a->has_end = true;
    if (is_fatter(&heap, a) && frag_heap_copy(&heap, &copy))
        keep_if_peak(loop, &copy);
}

/* The more a look costs, the further off the next record that is worth one. */
static void note_record(struct frag_loop *loop)
{
    struct frag_heap heap;
    double began = frag_now();
    if (look(loop, &heap))
        keep_if_peak(loop, &heap);
    double step = STEP_LEAST + (frag_now() - began) / STEP_COST_S;
    loop->step = step > STEP_MOST ? STEP_MOST : step;
}

static void set_trigger(const struct frag_loop *loop)
{
    uint64_t next = (uint64_t)((double)loop->page->live_bytes * loop->step) + 4096;
    __atomic_store_n(&loop->page->trigger, next, __ATOMIC_RELAXED);
}

static void release(struct account_page *page)
{
    __atomic_store_n(&page->event, ACCOUNT_RUNS, __ATOMIC_RELEASE);
    syscall(SYS_futex, &page->event, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* One thread waits for us; others would go on under our eyes. */
void frag_look_answer(struct frag_loop *loop)
{
    unsigned moving;
    double began = frag_now();
    bool others = count_threads(loop->pid, &moving) > 1;
    if (others)
        stop_process(loop->pid);
    bool end = __atomic_load_n(&loop->page->event, __ATOMIC_ACQUIRE) == ACCOUNT_END;
    if (!end)
        note_record(loop);
    else if (loop->phase != FRAG_ENDING) /* told to go, it tidied up: its end was before */
        note_end(loop);
    if (!end)
        set_trigger(loop);
    release(loop->page);
    if (others)
        kill(loop->pid, SIGCONT);
    loop->paused += frag_now() - began;
}

/* Stopped anywhere, it may be in the middle of a change: then a moment later. */
static void look_stopped(struct frag_loop *loop, void (*note)(struct frag_loop *),
                         const struct frag_heap *heap)
{
    double began = frag_now();
    for (int i = 0; i < LOOK_TRIES; i++) {
        stop_process(loop->pid);
        note(loop);
        kill(loop->pid, SIGCONT);
        if (heap->damage == 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    loop->paused += frag_now() - began;
}

void frag_look_end(struct frag_loop *loop)
{
    look_stopped(loop, note_end, &loop->account->end);
}

void frag_look_fat(struct frag_loop *loop)
{
    double most = (double)loop->looked * (loop->step < FAT_STEP ? FAT_STEP : loop->step) + FAT_LEAST;
    if (loop->watch.last.anonymous > most && loop->page->root != 0)
        look_stopped(loop, note_record, &loop->account->peak);
}
