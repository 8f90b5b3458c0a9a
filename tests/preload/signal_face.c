/* SPDX-License-Identifier: MIT */
/* sigaction, signal and their kin give the program back what it set, and call its handlers as it asked. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"

extern void (*bsd_signal(int, void (*)(int)))(int);
extern void (*sysv_signal(int, void (*)(int)))(int);

static volatile int plain_hits, info_hits, got_signal, got_code, got_value, got_context;

static void plain(int number)
{
    plain_hits++;
    got_signal = number;
}

static void other(int number)
{
    plain_hits += 100;
    got_signal = number;
}

static void with_info(int number, siginfo_t *info, void *context)
{
    info_hits++;
    got_signal = number;
    got_code = info->si_code;
    got_value = info->si_value.sival_int;
    got_context = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] != 0;
}

static void what_was_set_is_read_back(void)
{
    struct sigaction action = {.sa_sigaction = with_info, .sa_flags = SA_SIGINFO | SA_RESTART}, old;
    sigaddset(&action.sa_mask, SIGUSR2);
    EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0);
    EXPECT(old.sa_sigaction == with_info);
    EXPECT((old.sa_flags & ~0x04000000) == (SA_SIGINFO | SA_RESTART));
    EXPECT(sigismember(&old.sa_mask, SIGUSR2) == 1 && sigismember(&old.sa_mask, SIGHUP) == 0);
    struct sigaction next = {.sa_handler = plain, .sa_flags = SA_NODEFER};
    EXPECT(sigaction(SIGUSR1, &next, &old) == 0);
    EXPECT(old.sa_sigaction == with_info);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0);
    EXPECT(old.sa_handler == plain && (old.sa_flags & SA_SIGINFO) == 0 && (old.sa_flags & SA_NODEFER) != 0);
    EXPECT(action.sa_sigaction == with_info); /* what the program handed in is not touched */
}

static void handlers_get_what_they_asked_for(void)
{
    struct sigaction action = {.sa_sigaction = with_info, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 4711});
    EXPECT(info_hits == 1 && got_signal == SIGUSR1 && got_code == SI_QUEUE && got_value == 4711 &&
           got_context);
    signal(SIGUSR2, plain);
    plain_hits = 0;
    raise(SIGUSR2);
    EXPECT(plain_hits == 1 && got_signal == SIGUSR2);
}

static void signal_and_its_kin_return_the_old_one(void)
{
    EXPECT(signal(SIGHUP, plain) == SIG_DFL);
    EXPECT(signal(SIGHUP, other) == plain);
    EXPECT(bsd_signal(SIGHUP, SIG_IGN) == other);
    EXPECT(ssignal(SIGHUP, plain) == SIG_IGN);
    EXPECT(sysv_signal(SIGHUP, other) == plain);
    plain_hits = 0;
    raise(SIGHUP);
    EXPECT(plain_hits == 100);
    EXPECT(signal(SIGHUP, plain) == SIG_DFL); /* sysv: once only */
    EXPECT(sigset(SIGHUP, other) == plain);
    EXPECT(sigset(SIGHUP, SIG_HOLD) == other);
    EXPECT(sigset(SIGHUP, plain) == SIG_HOLD);
    plain_hits = 0;
    raise(SIGHUP);
    EXPECT(plain_hits == 1);
    siginterrupt(SIGHUP, 1);
    EXPECT(signal(SIGHUP, SIG_DFL) == plain);
}

static void wrong_numbers_are_refused(void)
{
    struct sigaction action = {.sa_handler = plain};
    errno = 0;
    EXPECT(sigaction(SIGKILL, &action, NULL) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(sigaction(32, &action, NULL) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(signal(4000, plain) == SIG_ERR && errno == EINVAL);
    errno = 0;
    EXPECT(signal(SIGHUP, SIG_ERR) == SIG_ERR && errno == EINVAL);
}

static void a_child_by_vfork_leaves_the_parent_s_alone(void)
{
    struct sigaction old;
    signal(SIGUSR2, plain);
    int pid = vfork();
    if (pid == 0) {
        signal(SIGUSR2, other);
        signal(SIGUSR2, SIG_DFL);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    EXPECT(sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_handler == plain);
    plain_hits = 0;
    raise(SIGUSR2);
    EXPECT(plain_hits == 1);
}

/* More handlers than there are trampolines: mov $N,hit; ret. */
static int hit;

static void many_handlers_all_work(void)
{
    unsigned char *code =
        mmap(NULL, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t word = (uintptr_t)&hit;
    for (int i = 0; i < 300; i++) {
        unsigned char *at = code + i * 32,
                      text[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xc7, 0, 0, 0, 0, 0, 0xc3};
        memcpy(text + 2, &word, 8);
        memcpy(text + 12, &i, 4);
        memcpy(at, text, sizeof(text));
        EXPECT(signal(SIGUSR1, (void (*)(int))at) != SIG_ERR);
        hit = -1;
        raise(SIGUSR1);
        EXPECT(hit == i);
        EXPECT(signal(SIGUSR1, SIG_DFL) == (void (*)(int))at);
    }
    EXPECT(signal(SIGUSR1, plain) == SIG_DFL); /* bound before: still the same */
    EXPECT(signal(SIGUSR1, SIG_DFL) == plain);
}

/* What the kernel says, and somebody who calls that by hand. */
static void a_handler_that_was_read_from_the_kernel_may_be_called(void)
{
    struct {
        void (*handler)(int, siginfo_t *, void *);
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } raw;
    siginfo_t info = {.si_code = SI_USER};
    ucontext_t context = {.uc_mcontext.gregs[REG_RIP] = 1};
    struct sigaction action = {.sa_sigaction = with_info, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    EXPECT(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &raw, 8) == 0);
    info_hits = 0;
    raw.handler(SIGUSR1, &info, &context);
    raw.handler(SIGUSR1, &info, &context);
    EXPECT(info_hits == 2);
    signal(SIGUSR1, plain);
    EXPECT(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &raw, 8) == 0);
    plain_hits = 0;
    ((void (*)(int))raw.handler)(SIGUSR1);
    EXPECT(plain_hits == 1);
}

int main(void)
{
    what_was_set_is_read_back();
    handlers_get_what_they_asked_for();
    signal_and_its_kin_return_the_old_one();
    wrong_numbers_are_refused();
    a_child_by_vfork_leaves_the_parent_s_alone();
    a_handler_that_was_read_from_the_kernel_may_be_called();
    many_handlers_all_work();
    return expect_end();
}
