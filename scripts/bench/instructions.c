/* SPDX-License-Identifier: MIT */
/*
 * instructions.c - how many instructions a malloc and a free take, counted one by one.
 *
 *   instructions LIBRARY [ROW]     LIBRARY is preloaded; "" for the C library's own malloc
 *                                  ROW: only those rows whose names ("hot 16") begin so
 *
 *     parent                          child: this program again, with LIBRARY preloaded
 *     wait for the trap  <---------   warm up; int3 with the addresses of malloc and free in registers
 *     single-step ------------------> the calls to be counted
 *     until the next trap <--------   int3
 *
 * A step that arrives at malloc opens a count, the step that returns to its caller closes it: everything between, slow
 * paths and what they call included, is the call's. The average over all calls of a row is printed, with the largest
 * single call beside it. The call instruction and the PLT are not counted (the child calls through a pointer), a
 * repeated string instruction is one, a system call is one. Page faults and time do not show: that is what makes the
 * figures repeat.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 128u

struct row {
    const char *pattern; /* "hot": the same block again and again; "batch": many at once */
    size_t size;
    unsigned batch; /* this many malloc, then as many free in the same order */
    unsigned batches;
};

/*
 * Hot calls repeat after a pool's worth of blocks, batches after one batch: a few hundred calls of each are a whole number
 * of rounds and the slow paths have their share. More would only take longer: a step is 30 microseconds in some virtual
 * machines.
 */
static const struct row rows[] = {
    {"hot", 16, 1, 256},      {"hot", 200, 1, 256},      {"hot", 1024, 1, 256},  {"batch", 16, BATCH, 4},
    {"batch", 200, BATCH, 4}, {"batch", 1024, BATCH, 4}, {"hot", 100000, 1, 32},
};
#define ROWS     (sizeof(rows) / sizeof(rows[0]))
#define WARM_UP  64u /* times the work of a row, before it is counted */
#define MAX_STEP 50000000u

/* One of the two functions, as its calls are counted. */
struct count {
    uint64_t entry;
    uint64_t calls, instructions, most;
};

struct stepper {
    pid_t child;
    struct count functions[2];
    struct count *open; /* the call being counted, NULL between calls */
    uint64_t resume_rip, resume_rsp;
    uint64_t in_call, last_rip;
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "instructions: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* --- the child --- */

/* The parent reads rax, rdi and rsi. Not inlined into the loops: what they do must not depend on it. */
__attribute__((noinline)) static void trap(uint64_t row, void *(*allocate)(size_t), void (*release)(void *))
{
    __asm__ volatile("int3" : : "a"(row), "D"(allocate), "S"(release) : "memory");
}

static void work(const struct row *row, unsigned batches, void *(*allocate)(size_t), void (*release)(void *))
{
    void *blocks[BATCH];

    for (unsigned i = 0; i < batches; i++) {
        for (unsigned k = 0; k < row->batch; k++)
            blocks[k] = allocate(row->size);
        for (unsigned k = 0; k < row->batch; k++)
            release(blocks[k]);
    }
}

static bool is_wanted(const struct row *row, const char *only)
{
    char name[32];

    snprintf(name, sizeof(name), "%s %zu", row->pattern, row->size);
    return strncmp(name, only, strlen(only)) == 0;
}

static int child_main(const char *only)
{
    void *(*volatile allocate)(size_t) = malloc;
    void (*volatile release)(void *) = free;

    for (size_t i = 0; i < ROWS; i++) {
        if (!is_wanted(&rows[i], only))
            continue;
        work(&rows[i], rows[i].batches * WARM_UP, allocate, release);
        trap(i, allocate, release);
        work(&rows[i], rows[i].batches, allocate, release);
        trap(i, allocate, release);
    }
    return 0;
}

/* --- the parent --- */

/* Parent and child on one processor: a step is a switch, not a wake-up. Without address randomisation: what a hash of
 * an address decides is decided the same way every time. Both only help; neither is needed. */
static void settle_down(void)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    sched_setaffinity(0, sizeof(one), &one);
    personality(ADDR_NO_RANDOMIZE);
}

static pid_t start_child(const char *library, const char *only)
{
    pid_t child = fork();

    if (child < 0)
        fail("fork");
    if (child > 0)
        return child;
    if (*library)
        setenv("LD_PRELOAD", library, 1);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        fail("ptrace (is it forbidden here?)");
    execl("/proc/self/exe", "instructions", "--child", only, (char *)NULL);
    fail("exec");
}

/* Until the next SIGTRAP; false when the child has ended. */
static bool wait_for_trap(pid_t child)
{
    int status;

    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
        fprintf(stderr, "instructions: the child ended or stopped with status 0x%x\n", (unsigned)status);
        exit(2);
    }
    return true;
}

/* Is the function at this address in the library that was asked for? The dynamic loader only warns when it cannot preload. */
static void check_owner(pid_t child, uint64_t address, const char *library)
{
    char path[64], line[4352], file[4096], wanted[4096] = "/libc.so.6";
    FILE *maps;

    if (*library && !realpath(library, wanted))
        fail(library);
    snprintf(path, sizeof(path), "/proc/%d/maps", child);
    if (!(maps = fopen(path, "r")))
        fail(path);
    while (fgets(line, sizeof(line), maps)) {
        uint64_t start, end;

        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %4095s", &start, &end, file) == 3 && start <= address &&
            address < end && strlen(file) >= strlen(wanted) &&
            strcmp(file + strlen(file) - strlen(wanted), wanted) == 0) {
            fclose(maps);
            return;
        }
    }
    fprintf(stderr, "instructions: malloc is not the one of %s\n", *library ? library : "the C library");
    exit(2);
}

/* The child stands before the instruction at rip: is it the first of a call, one more, or the first after its return? */
static void count_step(struct stepper *s, const struct user_regs_struct *regs)
{
    bool repeated = regs->rip == s->last_rip;

    s->last_rip = regs->rip;
    if (s->open) {
        if (regs->rip == s->resume_rip && regs->rsp == s->resume_rsp) {
            s->open->calls++;
            s->open->instructions += s->in_call;
            if (s->in_call > s->open->most)
                s->open->most = s->in_call;
            s->open = NULL;
        } else if (!repeated) {
            s->in_call++;
        }
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (regs->rip == s->functions[i].entry) {
            errno = 0;
            s->resume_rip = (uint64_t)ptrace(PTRACE_PEEKDATA, s->child, (void *)regs->rsp, NULL);
            s->resume_rsp = regs->rsp + 8;
            s->in_call = 1;
            s->open = errno ? NULL : &s->functions[i];
        }
    }
}

/* From one trap to the next; the int3 itself is told from a step by the instruction behind rip. */
static void step_row(struct stepper *s)
{
    struct user_regs_struct regs;

    for (unsigned steps = 0; steps < MAX_STEP; steps++) {
        if (ptrace(PTRACE_SINGLESTEP, s->child, NULL, NULL) != 0)
            fail("single step");
        if (!wait_for_trap(s->child))
            break;
        if (ptrace(PTRACE_GETREGS, s->child, NULL, &regs) != 0)
            fail("registers");
        if (regs.rip == s->last_rip + 1 && !s->open &&
            (ptrace(PTRACE_PEEKTEXT, s->child, (void *)s->last_rip, NULL) & 0xff) == 0xcc)
            return;
        count_step(s, &regs);
    }
    errno = EPROTO;
    fail("the second trap did not come");
}

static void print_row(const struct row *row, const struct stepper *s)
{
    uint64_t wanted = (uint64_t)row->batch * row->batches;

    printf("%s %zu", row->pattern, row->size);
    for (unsigned i = 0; i < 2; i++) {
        const struct count *c = &s->functions[i];

        if (c->calls != wanted) {
            fprintf(stderr, "instructions: %lu calls counted instead of %lu\n", c->calls, wanted);
            exit(2);
        }
        printf(" %.2f %lu", (double)c->instructions / (double)c->calls, c->most);
    }
    printf("\n");
}

static void measure_row(pid_t child, const struct row *row, const char *library)
{
    struct user_regs_struct regs;

    if (ptrace(PTRACE_CONT, child, NULL, NULL) != 0 || !wait_for_trap(child) ||
        ptrace(PTRACE_GETREGS, child, NULL, &regs) != 0)
        fail("the child does not come to its trap");
    check_owner(child, regs.rdi, library);
    struct stepper s = {
        .child = child, .functions = {{.entry = regs.rdi}, {.entry = regs.rsi}}, .last_rip = regs.rip};

    step_row(&s);
    print_row(row, &s);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--child") == 0)
        return child_main(argv[2]);
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: instructions LIBRARY [ROW]\n");
        return 2;
    }
    const char *only = argc == 3 ? argv[2] : "";

    settle_down();
    pid_t child = start_child(argv[1], only);

    ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)PTRACE_O_EXITKILL);
    wait_for_trap(child); /* exec */
    for (size_t i = 0; i < ROWS; i++)
        if (is_wanted(&rows[i], only))
            measure_row(child, &rows[i], argv[1]);
    ptrace(PTRACE_CONT, child, NULL, NULL);
    return wait_for_trap(child) ? 2 : 0;
}
