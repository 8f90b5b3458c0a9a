/* SPDX-License-Identifier: MIT */
/* explore.c - see scheduler.h: what depends on what, who is next, and which orders are left. */
#include "tests/interleave/scheduler_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEPS_MAX  40000u
#define WORDS_BITS 18
#define CHECK_UNDO 4096u /* schedules between two looks whether undoing brings back all of the state */
#define NO_STEP    UINT32_MAX
#define GRAIN_BITS 2 /* accesses to one 4-byte word meet */
#define GRAIN_MASK ((uintptr_t)(1u << GRAIN_BITS) - 1)

/* --- dependence ------------------------------------------------------------------------------------------------- */

struct clock {
    uint32_t of[THREADS_MAX]; /* how many of each thread's steps happened before */
};

/* A step of the current schedule: what was chosen there, and what else is to be tried. */
struct step {
    struct access access;
    struct clock clock; /* after it */
    uint8_t thread;
    uint8_t enabled, sleep, backtrack; /* sets of threads, before it */
};
static struct step *steps; /* STEPS_MAX */

struct word {
    uintptr_t key;
    uint32_t schedule;                       /* of which the rest is */
    uint32_t write, lock, read[THREADS_MAX]; /* the last steps that did so, or NO_STEP */
};
static struct word *words; /* 1 << WORDS_BITS */
static uint32_t schedule_number, last_all;
static struct clock clocks[THREADS_MAX];

static struct word *word_of(uintptr_t address)
{
    uintptr_t key = address >> GRAIN_BITS;
    uint32_t i = (uint32_t)((key * 0x9e3779b97f4a7c15u) >> (64 - WORDS_BITS));
    for (;; i = (i + 1) & ((1u << WORDS_BITS) - 1)) {
        struct word *word = &words[i];
        if (word->key == key && word->schedule == schedule_number)
            return word;
        if (word->schedule == schedule_number)
            continue;
        *word = (struct word){.key = key, .schedule = schedule_number, .write = NO_STEP, .lock = NO_STEP};
        memset(word->read, 0xff, sizeof word->read);
        return word;
    }
}

static bool depend(const struct access *a, const struct access *b)
{
    if (a->kind == ACCESS_ALL || b->kind == ACCESS_ALL)
        return true;
    if (a->kind == ACCESS_READ && b->kind == ACCESS_READ)
        return false;
    uintptr_t a_end = (a->address + a->size - 1) >> GRAIN_BITS,
              b_end = (b->address + b->size - 1) >> GRAIN_BITS;
    return a->address >> GRAIN_BITS <= b_end && b->address >> GRAIN_BITS <= a_end;
}

static bool happened_before(uint32_t step, int thread)
{
    const struct step *earlier = &steps[step];
    return earlier->clock.of[earlier->thread] <= clocks[thread].of[earlier->thread];
}

static void clock_join(struct clock *clock, uint32_t step)
{
    if (step == NO_STEP)
        return;
    for (int i = 0; i < THREADS_MAX; i++)
        if (steps[step].clock.of[i] > clock->of[i])
            clock->of[i] = steps[step].clock.of[i];
}

/* Threads whose first step of those that are not after `race`, from there to `now` (whose step comes last), depends on
 * none before it: any of them leads to the other order. */
static uint8_t initials(uint32_t race, uint32_t now, int thread)
{
    uint8_t seen = 0, first = 0;
    uint32_t kept[THREADS_MAX]; /* first kept step of each thread */
    bool held = false;          /* the step to come depends on a kept one */
    for (uint32_t i = race + 1; i < now; i++) {
        int who = steps[i].thread;
        if (steps[race].clock.of[steps[race].thread] <= steps[i].clock.of[steps[race].thread])
            continue;
        held |= depend(&steps[i].access, &run.thread[thread].next);
        if ((seen >> who & 1) != 0)
            continue;
        bool free = true;
        for (int other = 0; other < run.count; other++)
            if ((seen >> other & 1) != 0 && steps[kept[other]].clock.of[other] <= steps[i].clock.of[other])
                free = false;
        seen |= (uint8_t)(1u << who);
        kept[who] = i;
        first |= (uint8_t)(free ? 1u << who : 0);
    }
    if ((seen >> thread & 1) != 0 || held)
        return first;
    for (int other = 0; other < run.count; other++)
        if ((seen >> other & 1) != 0 && steps[kept[other]].clock.of[other] <= clocks[thread].of[other])
            return first;
    return first | (uint8_t)(1u << thread);
}

/* `thread`'s next access, as step `now`, could have come before step `race`. */
static void race_found(uint32_t race, uint32_t now, int thread)
{
    if (race == NO_STEP || steps[race].thread == thread || happened_before(race, thread))
        return;
    uint8_t first = initials(race, now, thread);
    struct step *step = &steps[race];
    if ((first & step->backtrack) != 0)
        return;
    uint8_t possible = first & step->enabled;
    if (possible == 0)
        step->backtrack |= step->enabled;
    else
        step->backtrack |=
            (possible >> thread & 1) != 0 ? (uint8_t)(1u << thread) : (uint8_t)(possible & -possible);
}

static void word_races(const struct word *word, const struct access *access, uint32_t now, int thread)
{
    if (access->kind == ACCESS_UNLOCK)
        return;
    race_found(access->kind == ACCESS_LOCK ? word->lock : word->write, now, thread);
    for (int other = 0; access->kind != ACCESS_READ && other < run.count; other++)
        race_found(word->read[other], now, thread);
}

static void word_join(struct word *word, const struct access *access, uint32_t now, int thread)
{
    clock_join(&clocks[thread], word->write);
    if (access->kind == ACCESS_READ) {
        word->read[thread] = now;
        return;
    }
    for (int other = 0; other < run.count; other++)
        clock_join(&clocks[thread], word->read[other]);
    memset(word->read, 0xff, sizeof word->read);
    word->write = now;
    if (access->kind == ACCESS_LOCK)
        word->lock = now;
}

/* The access of step `now` as one to everything. */
static void all_note(uint32_t now, int thread, bool fresh)
{
    for (uint32_t i = now, seen = 0; i-- > 0 && seen != (1u << run.count) - 1;) {
        int other = steps[i].thread;
        if ((seen >> other & 1) != 0)
            continue;
        seen |= 1u << other;
        if (fresh)
            race_found(i, now, thread);
    }
    for (uint32_t i = 0; i < now; i++)
        clock_join(&clocks[thread], i);
    last_all = now;
}

/* Step `now` is about to be made: whom does it race with, and what happens before it? */
static void step_note(uint32_t now, bool fresh)
{
    struct step *step = &steps[now];
    const struct access *access = &step->access;
    int thread = step->thread;
    if (fresh)
        race_found(last_all, now, thread);
    if (access->kind == ACCESS_ALL) {
        all_note(now, thread, fresh);
    } else {
        uintptr_t end = access->address + access->size;
        for (uintptr_t at = access->address & ~GRAIN_MASK; fresh && at < end; at += GRAIN_MASK + 1)
            word_races(word_of(at), access, now, thread);
        clock_join(&clocks[thread], last_all);
        for (uintptr_t at = access->address & ~GRAIN_MASK; at < end; at += GRAIN_MASK + 1)
            word_join(word_of(at), access, now, thread);
    }
    clocks[thread].of[thread]++;
    step->clock = clocks[thread];
}

/* --- one schedule ----------------------------------------------------------------------------------------------- */

static bool is_enabled(const struct coroutine *thread)
{
    return !thread->ended &&
           (thread->next.kind != ACCESS_LOCK || *(const uint32_t *)thread->next.address == 0);
}

static uint8_t enabled_set(void)
{
    uint8_t set = 0;
    for (int i = 0; i < run.count; i++)
        set |= (uint8_t)(is_enabled(&run.thread[i]) ? 1u << i : 0);
    return set;
}

static bool all_ended(void)
{
    for (int i = 0; i < run.count; i++)
        if (!run.thread[i].ended)
            return false;
    return true;
}

/* Threads that slept before `step` and still may: what they would do does not depend on it. */
static uint8_t sleep_after(const struct step *step)
{
    uint8_t set = 0;
    for (int i = 0; i < run.count; i++)
        if ((step->sleep >> i & 1) != 0 && i != step->thread && !depend(&run.thread[i].next, &step->access))
            set |= (uint8_t)(1u << i);
    return set;
}

/* Go on with who ran last: few switches make a schedule readable. */
static int choose(uint8_t from, int last)
{
    return last >= 0 && (from >> last & 1) != 0 ? last : __builtin_ctz(from);
}

enum ending { ENDED, PRUNED, STUCK };

/* The first `fixed` steps are as in the schedule before; of these, the last has a new choice. */
static enum ending schedule_run(uint32_t fixed, uint32_t *ret_length)
{
    uint8_t sleep = 0;
    uint32_t now = 0;
    for (int i = 0; i < run.count; i++)
        coroutine_start(i);
    for (; !all_ended() && run.failure == NULL; now++) {
        struct step *step = &steps[now];
        if (now == STEPS_MAX)
            die("a schedule does not end");
        if (now >= fixed) {
            uint8_t enabled = enabled_set(), awake = enabled & (uint8_t)~sleep;
            *ret_length = now;
            if (awake == 0)
                return enabled == 0 ? STUCK : PRUNED;
            step->thread = (uint8_t)choose(awake, now > 0 ? steps[now - 1].thread : -1);
            step->enabled = enabled;
            step->sleep = sleep;
            step->backtrack = run.reduce ? (uint8_t)(1u << step->thread) : enabled;
        }
        step->access = run.thread[step->thread].next;
        step_note(now, now + 1 >= fixed);
        sleep = run.reduce ? sleep_after(step) : 0;
        coroutine_resume(step->thread);
    }
    *ret_length = now;
    return ENDED;
}

/* --- exploring -------------------------------------------------------------------------------------------------- */

/* The deepest step with a choice left gets it; returns how many steps stay fixed, 0 at the end. */
static uint32_t next_choice(uint32_t length)
{
    while (length > 0) {
        struct step *step = &steps[length - 1];
        step->sleep |= (uint8_t)(1u << step->thread);
        uint8_t left = step->backtrack & (uint8_t)~step->sleep;
        if (left != 0) {
            step->thread = (uint8_t)__builtin_ctz(left);
            return length;
        }
        length--;
    }
    return 0;
}

static void print_schedule(uint32_t length)
{
    char command[256];
    snprintf(command, sizeof command, "addr2line -spfi -e /proc/%d/exe | sed 's/^/    /' >&2", getpid());
    fprintf(stderr, "interleave: %s: %s; the schedule, %u steps, a block for each switch:\n",
            run.scenario->name, run.failure, length);
    for (uint32_t i = 0; i < length; i++) {
        if (i > 0 && steps[i].thread == steps[i - 1].thread && i + 1 < length &&
            steps[i + 1].thread == steps[i].thread)
            continue; /* the first and the last step of each turn */
        fprintf(stderr, "  thread %d, step %u, %s %#lx\n", steps[i].thread, i,
                (const char *[]){"reads", "writes", "locks", "unlocks", "snapshots"}[steps[i].access.kind],
                (unsigned long)steps[i].access.address);
        FILE *pipe = popen(command, "w");
        if (pipe != NULL) {
            fprintf(pipe, "%#lx\n", (unsigned long)steps[i].access.pc - 1);
            pclose(pipe);
        }
    }
}

static void state_keep(void)
{
    memcpy(undo.kept_memory, scheduler_memory, SCHEDULER_MEMORY);
}

static void state_compare(void)
{
    if (memcmp(undo.kept_memory, scheduler_memory, SCHEDULER_MEMORY) != 0)
        die("undoing does not bring back the state: an access is not seen");
}

static void explorer_init(void)
{
    if (steps != NULL)
        return;
    size_t size = SCHEDULER_MEMORY + ((size_t)4 << 20);
    unsigned char *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        die("no memory");
    scheduler_memory = (unsigned char *)(((uintptr_t)p + (4 << 20) - 1) & ~(uintptr_t)((4 << 20) - 1));
    undo.kept_memory =
        mmap(NULL, SCHEDULER_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    undo.log = malloc(UNDO_MAX * sizeof *undo.log);
    words = calloc(1u << WORDS_BITS, sizeof *words);
    steps = calloc(STEPS_MAX, sizeof *steps);
    for (int i = 0; i < THREADS_MAX; i++)
        run.thread[i].stack = malloc(STACK_SIZE);
}

static void scenario_begin(const struct scenario *scenario)
{
    explorer_init();
    run.scenario = scenario;
    run.failure = NULL;
    run.outcomes = 0;
    for (run.count = 0; run.count < THREADS_MAX && scenario->thread[run.count] != NULL;)
        run.count++;
    for (int i = 0; i < THREADS_MAX; i++) {
        run.thread[i].heap = SENTINEL_HEAP;
        run.thread[i].own_heap = NULL;
    }
    run.current = -1;
    scheduler_become(0);
    scenario->setup();
    thread_locals_save(&run.thread[run.current]);
    run.current = -1;
    undo.count = 0;
    state_keep();
}

void scheduler_explore(const struct scenario *scenario, uint64_t limit, bool reduce, struct exploration *ret)
{
    struct coroutine first[THREADS_MAX];
    uint32_t fixed = 0, length = 0;
    *ret = (struct exploration){.schedules = 0};
    run.reduce = reduce;
    scenario_begin(scenario);
    memcpy(first, run.thread, sizeof first);
    do {
        schedule_number++;
        last_all = NO_STEP;
        memset(clocks, 0, sizeof clocks);
        enum ending ending = schedule_run(fixed, &length);
        if (ending == STUCK)
            scheduler_fail("nobody can go on");
        if (ending == ENDED && run.failure == NULL)
            scenario->check();
        ret->schedules += ending == ENDED;
        ret->pruned += ending == PRUNED;
        ret->steps += length;
        ret->longest = length > ret->longest ? length : ret->longest;
        if (run.failure != NULL) {
            print_schedule(length);
            ret->failure = run.failure;
            undo_to(0);
            return;
        }
        undo_to(0);
        run.current = -1;
        memcpy(run.thread, first, sizeof first);
        if (schedule_number % CHECK_UNDO == 1)
            state_compare();
        fixed = next_choice(length);
    } while (fixed != 0 && (limit == 0 || ret->schedules < limit));
    ret->complete = fixed == 0;
    ret->outcomes = run.outcomes;
}
