/* SPDX-License-Identifier: MIT */
/*
 * Instructions of malloc, calloc, realloc and free get a signal whose handler allocates and frees.
 *
 *   parent                                   child, one for each scenario
 *     waits for `marked`, steps on             prepares; marked = 1; the call under test; marked = 0;
 *     k instructions, sends SIGUSR1            checks every block it holds; again
 *     again with another k
 *
 * Then once more with many signals in one and the same call, and then with a second signal, whose handler forks, while
 * the first one is only on its way to its handler: a fork takes every lock of the allocator, and would wait for ever for
 * one that the interrupted call holds. A child that hangs, crashes or finds a wrong byte fails. In the second half the handler leaves by siglongjmp: the child goes on with new blocks and must
 * find its old ones unharmed.
 *
 *     signal_step [ROUNDS [SCENARIO]]     about so many values of k a scenario, spread evenly; 0: all; default 6
 */
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "expect.h"

#define INSTRUCTIONS_MOST 60000
#define HELD              24
#define BRACKET_MOST                                                                                         \
    200 /* instructions of the library between the kernel and a handler, system calls included */
#define HANG_SECONDS   5
#define ENOUGH_SECONDS 4

/* What the parent reads and writes in the child, through ptrace: the child is a fork, addresses are the same. */
static volatile long marked;   /* the call under test is going on */
static volatile long finished; /* the scenario has no more instructions to be interrupted at */
static volatile long handled;

static int jumping, number = SIGUSR1;
static sigjmp_buf back;

static struct {
    unsigned char *p;
    size_t size;
} held[HELD], handlers[3];

static void hold(int i, void *p, size_t size)
{
    if (!p)
        abort();
    held[i].p = p;
    held[i].size = size;
    memset(p, i + 1, size);
}

static void check_held(void)
{
    for (int i = 0; i < HELD; i++)
        for (size_t n = 0; held[i].p && n < held[i].size; n += n < 64 ? 1 : 509)
            if (held[i].p[n] != i + 1)
                abort();
}

static void drop_held(void)
{
    check_held();
    for (int i = 0; i < HELD; i++) {
        free(held[i].p);
        held[i].p = NULL;
    }
}

static void on_signal(int unused)
{
    static const size_t sizes[3] = {48, 50000, 3 << 20};
    int saved = errno;
    (void)unused;
    handled++;
    for (int i = 0; i < 3; i++) {
        free(handlers[i].p);
        handlers[i].p = i == 1 ? calloc(1, sizes[i]) : malloc(sizes[i]);
        if (i == 1 && (handlers[1].p[0] || handlers[1].p[sizes[1] - 1]))
            abort();
        memset(handlers[i].p, 0xee, 48);
    }
    void *same = malloc(48), *other = realloc(malloc(300), 5000);
    free(realloc(malloc(300), 290)); /* stays in place */
    memset(same, 0xdd, 48);
    free(same);
    free(other);
    errno = saved;
    if (jumping)
        siglongjmp(back, 1);
}

static void on_second_signal(int unused)
{
    int saved = errno, status = -1, pid = fork();
    (void)unused;
    if (pid == 0)
        _exit(0);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        abort();
    errno = saved;
}

/* --- scenarios: what is stepped through ------------------------------------------------------------------ */

static void *volatile result;
static void *victim;

static void prepare_nothing(void)
{
}
static void prepare_small(void)
{
    victim = malloc(48);
}
static void prepare_span(void)
{
    victim = malloc(100000);
}
static void prepare_mapping(void)
{
    victim = malloc(5 << 20);
}
/* Until the next one needs the slow path. */
static void prepare_refill(void)
{
    static void *taken[400];
    for (int i = 0; i < 400; i++)
        taken[i] = malloc(1000);
    for (int i = 0; i < 400; i++)
        free(taken[i]);
    for (int i = 0; i < HELD; i++)
        hold(i, malloc(1000), 1000);
}

static void malloc_small(void)
{
    result = malloc(48);
}
static void malloc_page(void)
{
    result = malloc(30000);
}
static void calloc_small(void)
{
    result = calloc(3, 16);
}
static void malloc_span(void)
{
    result = malloc(100000);
}
static void malloc_mapping(void)
{
    result = malloc(5 << 20);
}
static void malloc_many(void)
{
    for (int i = 0; i < 20; i++)
        malloc(1000);
}
static void free_victim(void)
{
    free(victim);
}
static void grow_victim(void)
{
    result = realloc(victim, 200000);
}
/* Not to be copied: a step a byte. */
static void grow_mapping(void)
{
    result = realloc(victim, 9 << 20);
}
static void aligned(void)
{
    result = aligned_alloc(256, 300);
}

static const struct {
    const char *name;
    void (*prepare)(void), (*run)(void);
} scenarios[] = {
    {"malloc small", prepare_small, malloc_small},  {"calloc small", prepare_small, calloc_small},
    {"free small", prepare_small, free_victim},     {"first of a class", prepare_nothing, malloc_page},
    {"malloc many", prepare_refill, malloc_many},   {"malloc span", prepare_nothing, malloc_span},
    {"free span", prepare_span, free_victim},       {"malloc mapping", prepare_nothing, malloc_mapping},
    {"free mapping", prepare_mapping, free_victim}, {"realloc small", prepare_small, grow_victim},
    {"realloc span", prepare_span, grow_victim},    {"realloc mapping", prepare_mapping, grow_mapping},
    {"aligned_alloc", prepare_nothing, aligned},
};
#define SCENARIOS (int)(sizeof(scenarios) / sizeof(scenarios[0]))

/* --- the child ------------------------------------------------------------------------------------------- */

/* A grandchild for each instruction would be a process each; the child itself repeats the call instead, and its
 * heap is another one each time, which is more to meet. `fresh` scenarios are run in a process of their own. */
static void one_round(int scenario)
{
    for (int i = 0; i < HELD / 2; i++)
        if (!held[i].p)
            hold(i, malloc(48 + (size_t)i * 100), 48 + (size_t)i * 100);
    scenarios[scenario].prepare();
    result = NULL;
    if (sigsetjmp(back, 1) == 0) {
        marked = 1;
        scenarios[scenario].run();
    }
    marked = 0;
    if (result && !jumping)
        memset(result, 0x11, 48);
    free(result);
    check_held();
    if (handlers[0].p && (handlers[0].p[0] != 0xee || handlers[0].p[47] != 0xee))
        abort();
    drop_held();
}

static void child(int scenario)
{
    struct sigaction action = {.sa_handler = on_signal}, second = {.sa_handler = on_second_signal};
    sigaction(number, &action, NULL);
    sigaction(SIGUSR2, &second, NULL);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    while (!finished)
        one_round(scenario);
    _exit(0);
}

/* --- the parent ------------------------------------------------------------------------------------------ */

static long peek(int pid, volatile long *word)
{
    return ptrace(PTRACE_PEEKDATA, pid, (void *)word, 0);
}

static int last_signal; /* what the child stopped with, or died of */

/* true while it lives. */
static int go(int pid, int request, int deliver)
{
    int status;
    if (ptrace(request, pid, 0, deliver) != 0 || waitpid(pid, &status, 0) != pid)
        return 0;
    last_signal = WIFSTOPPED(status) ? WSTOPSIG(status) : WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return WIFSTOPPED(status);
}

#define DEBUG_REGISTER(n) (offsetof(struct user, u_debugreg) + (n) * sizeof(long))
#define WATCH_MARKED      0x000d0001L /* register 0: writes of 8 bytes */
#define BREAK_AT          0x00000004L /* register 1: executing */

static int watch(int pid, uintptr_t stop_at)
{
    return ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(7), 0L) == 0 &&
           ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(0), (long)&marked) == 0 &&
           ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(1), stop_at) == 0 &&
           ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(7), WATCH_MARKED | (stop_at ? BREAK_AT : 0)) == 0;
}

static int run_until_mark(int pid, long value)
{
    int deliver = 0;
    do {
        if (!go(pid, PTRACE_CONT, deliver))
            return 0;
        deliver = last_signal == SIGTRAP ? 0 : last_signal;
    } while (deliver || peek(pid, &marked) != value);
    return 1;
}

/* The number of instructions of the marked call, 0: it died. */
static int count_instructions(int pid)
{
    int count = 0;
    if (!run_until_mark(pid, 1))
        return 0;
    do
        count++;
    while (count < INSTRUCTIONS_MOST && go(pid, PTRACE_SINGLESTEP, 0) && peek(pid, &marked));
    return count;
}

/* One signal a call: at its first instruction, at the next one (or the stride-th after) in the next call... */
static int once_a_call(int pid, int count, int stride)
{
    for (int at = 1; at < count; at += stride) {
        int alive = run_until_mark(pid, 1);
        for (int i = 0; alive && i < at; i++)
            alive = go(pid, PTRACE_SINGLESTEP, 0);
        alive =
            alive && (!peek(pid, &marked) || (go(pid, PTRACE_SINGLESTEP, number) && run_until_mark(pid, 0)));
        if (!alive) {
            fprintf(stderr, "instruction %d of %d, signal %d: ", at, count, last_signal);
            return 0;
        }
    }
    return 1;
}

static time_t enough; /* when to go on: an instruction of a loop is come by very often */

/* The handler may come through the same instruction: only with the same stack pointer is it back. */
static int run_handler(int pid)
{
    struct user_regs_struct before, now;
    ptrace(PTRACE_GETREGS, pid, 0, &before);
    if (!watch(pid, before.rip) || !go(pid, PTRACE_SINGLESTEP, number))
        return 0;
    for (;;) {
        ptrace(PTRACE_GETREGS, pid, 0, &now);
        if ((now.rip == before.rip && now.rsp == before.rsp) || time(NULL) > enough)
            return watch(pid, 0);
        if (now.rip == before.rip && !go(pid, PTRACE_SINGLESTEP, 0))
            return 0;
        ptrace(PTRACE_GETREGS, pid, 0, &now);
        if (now.rip == before.rip && now.rsp == before.rsp)
            return watch(pid, 0);
        int deliver = last_signal == SIGTRAP ? 0 : last_signal;
        if (!go(pid, PTRACE_CONT, deliver))
            return 0;
    }
}

/* A signal at every instruction of one call, or every stride-th. */
static int all_in_one(int pid, int stride)
{
    int at = 0, alive = run_until_mark(pid, 1);
    enough = time(NULL) + ENOUGH_SECONDS;
    while (alive && time(NULL) <= enough && at++ < INSTRUCTIONS_MOST &&
           (alive = go(pid, PTRACE_SINGLESTEP, 0)) && peek(pid, &marked))
        if (at % stride == 0)
            alive = run_handler(pid);
    if (!alive)
        fprintf(stderr, "instruction %d, signal %d: ", at, last_signal);
    return alive && run_until_mark(pid, 1);
}

/* The second signal comes `into` instructions after the first one, which come at instruction `at`. */
static int one_pair(int pid, int at, int into)
{
    int alive = run_until_mark(pid, 1);
    for (int i = 0; alive && i < at; i++)
        alive = go(pid, PTRACE_SINGLESTEP, 0);
    if (!alive || !peek(pid, &marked))
        return alive;
    alive = go(pid, PTRACE_SINGLESTEP, number);
    for (int i = 0; alive && i < into; i++)
        alive = go(pid, PTRACE_SINGLESTEP, last_signal == SIGTRAP ? 0 : last_signal);
    if (alive && last_signal != SIGTRAP)
        alive = go(pid, PTRACE_SINGLESTEP, last_signal);
    alive = alive && go(pid, PTRACE_SINGLESTEP, SIGUSR2);
    return alive && run_until_mark(pid, 0);
}

static int hurried; /* the child */
static void end_hanging(int unused)
{
    (void)unused;
    kill(hurried, SIGKILL);
}

/* Pairs spread over the call and over what the library does before a handler is called. */
static int two_at_once(int pid, int count, int pairs)
{
    hurried = pid;
    signal(SIGALRM, end_hanging);
    for (int i = 0; i < pairs; i++) {
        int at = 1 + (int)((long)i * 6173 % count), into = 1 + i * 83 % BRACKET_MOST;
        alarm(HANG_SECONDS);
        if (!one_pair(pid, at, into)) {
            fprintf(stderr, "second signal %d after instruction %d, signal %d: ", into, at, last_signal);
            return 0;
        }
    }
    alarm(0);
    return 1;
}

static int end_child(int pid)
{
    int status;
    ptrace(PTRACE_POKEUSER, pid, DEBUG_REGISTER(7), 0L);
    return ptrace(PTRACE_POKEDATA, pid, (void *)&finished, 1L) == 0 &&
           ptrace(PTRACE_DETACH, pid, 0, 0) == 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static int one_scenario(int scenario, int rounds)
{
    int status, count, pid = fork();
    if (pid == 0)
        child(scenario);
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) || !watch(pid, 0))
        return 0;
    int good = (count = count_instructions(pid)) > 5 &&
               once_a_call(pid, count, rounds && count > rounds ? count / rounds : 1) &&
               (jumping || all_in_one(pid, rounds && count > 8 * rounds ? count / (8 * rounds) : 1)) &&
               (jumping || number != SIGUSR1 || two_at_once(pid, count, rounds ? 2 * rounds : 20000)) &&
               end_child(pid);
    if (!good)
        kill(pid, SIGKILL);
    if (!good || getenv("SHOW_COUNTS"))
        fprintf(stderr, "%s%s: %d instructions\n", scenarios[scenario].name, jumping ? ", jumping" : "",
                count);
    return good;
}

/* A third argument: real-time signals, which do not wait for a lock (preload/signals.h). */
int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 6;
    int first = argc > 2 ? atoi(argv[2]) : 0, end = argc > 2 && first >= 0 ? first + 1 : SCENARIOS;
    first = first < 0 ? 0 : first;
    if (argc > 3)
        number = SIGRTMIN + 3;
    for (jumping = 0; jumping < 2; jumping++)
        for (int i = first; i < end; i++)
            EXPECT(one_scenario(i, rounds));
    return expect_end();
}
