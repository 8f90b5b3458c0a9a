/* SPDX-License-Identifier: MIT */
/*
 * malloc and free in signal handlers that interrupt malloc and free: at 10 kHz, nested, in many threads; leaving
 * them by siglongjmp; and threads cancelled in their middle. Every block is filled and looked at, so that one
 * handed out twice shows.
 */
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "trap.h"

#define KEPT   64
#define PERIOD 100000 /* nanoseconds: 10 kHz */

/* What a thread, or its handler, holds. */
struct holder {
    char *p[KEPT];
    size_t size[KEPT];
    unsigned seed;
};

static double seconds(void)
{
    return trap_is_long() ? 30 : 0.7;
}

static void holder_drop(struct holder *h, unsigned at)
{
    char *p = h->p[at];
    h->p[at] = NULL;
    if (!p)
        return;
    CHECK(trap_is_filled(p, h->size[at], at));
    free(p);
}

/* One step: a block replaced, by any of the calls, small or (when asked for) large. */
static void holder_step(struct holder *h, size_t most)
{
    unsigned at = trap_random(&h->seed) % KEPT, call = trap_random(&h->seed) % 8;
    size_t size = trap_random(&h->seed) % (trap_random(&h->seed) % 16 ? 600 : most);
    char *p = h->p[at];
    if (call == 0 && p) {
        CHECK(trap_is_filled(p, h->size[at], at));
        h->p[at] = NULL;
        p = realloc(p, size + 1);
    } else {
        holder_drop(h, at);
        p = call == 1 ? calloc(1, size + 1) : call == 2 ? memalign(64, size + 1) : malloc(size + 1);
        for (size_t i = 0; call == 1 && i <= size; i += 61)
            CHECK(p[i] == 0);
    }
    REQUIRE(p != NULL);
    trap_fill(p, size, at);
    h->size[at] = size;
    h->p[at] = p;
}

static void holder_drop_all(struct holder *h)
{
    for (unsigned i = 0; i < KEPT; i++)
        holder_drop(h, i);
}

/* --- timers --------------------------------------------------------------------------------------- */

static void timer_aim(timer_t *timer, int number, long nanoseconds)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = number};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    struct itimerspec when = {{0, nanoseconds}, {0, nanoseconds}};
    REQUIRE(timer_create(CLOCK_MONOTONIC, &event, timer) == 0);
    REQUIRE(timer_settime(*timer, 0, &when, NULL) == 0);
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags | SA_RESTART};
    sigaction(number, &action, NULL);
}

static __thread struct holder handlers_own;
static __thread volatile long hits;
static size_t handler_most = 600;

static void handler_allocates(int number)
{
    int saved = errno;
    (void)number;
    for (int i = 0; i < 3; i++)
        holder_step(&handlers_own, handler_most);
    hits++;
    errno = saved;
}

static void churn_under_timer(size_t most)
{
    static __thread struct holder mine;
    timer_t timer;
    mine.seed = 1;
    handle(SIGUSR1, handler_allocates, 0);
    timer_aim(&timer, SIGUSR1, PERIOD);
    for (double end = trap_now() + seconds(); trap_now() < end;)
        for (int i = 0; i < 200; i++)
            holder_step(&mine, most);
    timer_delete(timer);
    CHECK(hits > 100);
    holder_drop_all(&mine);
    holder_drop_all(&handlers_own);
}

static void small_blocks_at_10_khz(void)
{
    churn_under_timer(600);
}

static void large_blocks_at_10_khz(void)
{
    handler_most = 200000;
    churn_under_timer(400000);
}

static void huge_blocks_at_10_khz(void)
{
    handler_most = 3 << 20;
    churn_under_timer(5 << 20);
}

/* As a profiler does: SIGPROF as often as the kernel lets it come. */
static void profiling_timer_at_full_rate(void)
{
    static struct holder mine;
    struct itimerval timer = {{0, 1}, {0, 1}}, none = {0};
    handle(SIGPROF, handler_allocates, 0);
    setitimer(ITIMER_PROF, &timer, NULL);
    for (double end = trap_now() + seconds(); trap_now() < end;)
        for (int i = 0; i < 200; i++)
            holder_step(&mine, 5000);
    setitimer(ITIMER_PROF, &none, NULL);
    CHECK(hits > 0); /* the kernel looks at processor time at its own ticks only */
}

static void *thread_churns(void *unused)
{
    churn_under_timer(20000);
    return unused;
}

static void four_threads_at_10_khz(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, thread_churns, NULL) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* Recorded, a handler with many calls takes longer than the period: at the full rate nothing else goes on. */
static long long_period(void)
{
    return PERIOD * (trap_is_recording() ? 5 : 1);
}

/* Handlers interrupt handlers: two signals, neither blocks the other nor itself. */
static __thread volatile int depth;
static void handler_nests(int number)
{
    int saved = errno;
    struct holder deep = {.seed = (unsigned)number + (unsigned)hits};
    if (depth++ < 6) {
        for (int i = 0; i < 4; i++)
            holder_step(&deep, 3000);
        holder_drop_all(&deep);
    }
    depth--;
    hits++;
    errno = saved;
}

static void nested_handlers(void)
{
    static struct holder mine;
    timer_t timers[2];
    long period = long_period();
    handle(SIGUSR1, handler_nests, SA_NODEFER);
    handle(SIGUSR2, handler_nests, SA_NODEFER);
    timer_aim(&timers[0], SIGUSR1, period);
    timer_aim(&timers[1], SIGUSR2, period * 13 / 10);
    for (double end = trap_now() + seconds(); trap_now() < end;)
        for (int i = 0; i < 200; i++)
            holder_step(&mine, 3000);
    timer_delete(timers[0]), timer_delete(timers[1]);
    CHECK(hits > 100);
}

/* Blocks pass between the handler and what it interrupts, both ways: each frees what the other allocated. */
static void *volatile to_handler[KEPT], *volatile from_handler[KEPT];
static void handler_exchanges(int number)
{
    (void)number;
    for (unsigned i = 0; i < 8; i++) {
        unsigned at = (unsigned)(hits * 8 + i) % KEPT;
        free(__atomic_exchange_n(&to_handler[at], NULL, __ATOMIC_SEQ_CST));
        free(__atomic_exchange_n(&from_handler[at], malloc(at * 30), __ATOMIC_SEQ_CST));
    }
    hits++;
}

static void blocks_pass_to_and_from_the_handler(void)
{
    timer_t timer;
    unsigned seed = 5;
    handle(SIGUSR1, handler_exchanges, 0);
    timer_aim(&timer, SIGUSR1, long_period());
    for (double end = trap_now() + seconds(); trap_now() < end;)
        for (int i = 0; i < 200; i++) {
            unsigned at = trap_random(&seed) % KEPT;
            free(__atomic_exchange_n(&to_handler[at], malloc(at * 40), __ATOMIC_SEQ_CST));
            free(__atomic_exchange_n(&from_handler[at], NULL, __ATOMIC_SEQ_CST));
        }
    timer_delete(timer);
    CHECK(hits > 100);
}

static void handler_on_an_8_kib_alternate_stack(void)
{
    static char stack[8192] __attribute__((aligned(16)));
    static struct holder mine;
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    timer_t timer;
    if (sigaltstack(&alternate, NULL) != 0)
        trap_skip("the machine's vector registers need more than 8 KiB");
    handle(SIGUSR1, handler_allocates, SA_ONSTACK);
    timer_aim(&timer, SIGUSR1, PERIOD);
    for (double end = trap_now() + seconds(); trap_now() < end;)
        for (int i = 0; i < 200; i++)
            holder_step(&mine, 5000);
    timer_delete(timer);
    CHECK(hits > 100);
}

/* --- leaving in the middle ------------------------------------------------------------------------ */

static sigjmp_buf way_back;
static volatile sig_atomic_t may_jump;

static void handler_jumps(int number)
{
    (void)number;
    hits++;
    if (may_jump)
        siglongjmp(way_back, 1);
}

/* What the interrupted call was about to return is lost, at most; what the program holds stays whole. */
static void siglongjmp_out_of_malloc(void)
{
    static struct holder kept;
    timer_t timer;
    void *volatile p = NULL;
    for (int i = 0; i < 500; i++)
        holder_step(&kept, 20000);
    handle(SIGUSR1, handler_jumps, 0);
    timer_aim(&timer, SIGUSR1, PERIOD * 2);
    double end = trap_now() + seconds();
    unsigned seed = 1;
    if (sigsetjmp(way_back, 1) && trap_now() >= end)
        may_jump = 0;
    else
        may_jump = 1;
    while (may_jump && trap_now() < end) {
        p = malloc(trap_random(&seed) % 1000);
        /* A jump between the two would make this a double free of the program's own: forget first. */
        void *q = p;
        p = NULL;
        free(q);
        q = malloc(100000);
        free(q);
    }
    may_jump = 0;
    timer_delete(timer);
    CHECK(hits > 50);
    for (int i = 0; i < 20000; i++)
        holder_step(&kept, 20000);
    holder_drop_all(&kept);
}

static void *loops_until_cancelled(void *unused)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (unsigned i = 0;; i++) {
        void *p = malloc(i % 3000), *q = i % 64 ? NULL : malloc(200000);
        free(p);
        free(q);
    }
    return unused;
}

static void threads_cancelled_inside_malloc(void)
{
    static struct holder mine;
    for (size_t i = 0; i < trap_times(200, 5000); i++) {
        pthread_t thread;
        void *result;
        REQUIRE(pthread_create(&thread, NULL, loops_until_cancelled, NULL) == 0);
        for (int j = 0; j < 50; j++)
            holder_step(&mine, 20000);
        usleep(i % 7 * 50);
        pthread_cancel(thread);
        REQUIRE(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    }
    holder_drop_all(&mine);
}

const struct trap traps[] = {
    {"small_blocks_at_10_khz", small_blocks_at_10_khz, 8},
    {"large_blocks_at_10_khz", large_blocks_at_10_khz, 8},
    {"huge_blocks_at_10_khz", huge_blocks_at_10_khz, 8},
    {"profiling_timer_at_full_rate", profiling_timer_at_full_rate, 8},
    {"four_threads_at_10_khz", four_threads_at_10_khz, 8},
    {"nested_handlers", nested_handlers, 8},
    {"blocks_pass_to_and_from_the_handler", blocks_pass_to_and_from_the_handler, 8},
    {"handler_on_an_8_kib_alternate_stack", handler_on_an_8_kib_alternate_stack, 8},
    {"siglongjmp_out_of_malloc", siglongjmp_out_of_malloc, 8},
    {"threads_cancelled_inside_malloc", threads_cancelled_inside_malloc, 8},
    {0},
};
