/* SPDX-License-Identifier: MIT */
/*
 * ways.c - one small program per way of ending, and per trouble on the way: `ways CASE`. What the companion should be
 * told is in the file `cases`.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/preload/exit_ways/ways.h"

static char *self;
static volatile uint64_t *word;
static pthread_barrier_t barrier;

static void map_page(void)
{
    unsigned char *page = mmap((void *)WAYS_PAGE, WAYS_PAGES * 4096, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    word = (uint64_t *)page;
    for (size_t i = 0; i < (WAYS_PAGES - 1) * 4096 - 5; i++)
        page[4096 + 5 + i] = WAYS_PATTERN(i);
    mprotect(page + (WAYS_PAGES - 2) * 4096, 4096, PROT_NONE);
}

static void start(void *(*routine)(void *), void *arg)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, routine, arg) != 0)
        abort();
    pthread_detach(thread);
}

static void ms(unsigned n)
{
    usleep(n * 1000);
}

/* --- exits ------------------------------------------------------------------------------------------------- */

static int return3(void)
{
    return 3;
}
static int exit3(void)
{
    exit(3);
}
static int fast4(void)
{
    _exit(4);
}
static int fast_c4(void)
{
    _Exit(4);
}
static int quick5(void)
{
    quick_exit(5);
}
static void *exit_there(void *status)
{
    exit((int)(intptr_t)status);
}
static int thread_exit(void)
{
    start(exit_there, (void *)6);
    for (;;)
        pause();
}
static void *ends_later(void *unused)
{
    (void)unused;
    ms(100);
    return NULL;
}
static int last_thread(void)
{
    start(ends_later, NULL);
    pthread_exit(NULL);
}
static void *exits_later(void *unused)
{
    (void)unused;
    ms(100);
    exit(8);
}
static int main_gone(void)
{
    start(exits_later, NULL);
    pthread_exit(NULL);
}
static void exit_fast(void)
{
    _exit(7);
}
static int atexit_fast(void)
{
    atexit(exit_fast);
    return 3;
}
static void *exit_at_once(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&barrier);
    _exit(3);
}
static int many_exits(void)
{
    pthread_barrier_init(&barrier, NULL, 9);
    for (int i = 0; i < 8; i++)
        start(exit_at_once, NULL);
    pthread_barrier_wait(&barrier);
    _exit(3);
}

static void count_up(void)
{
    (*word)++;
}
__attribute__((destructor)) static void destructor(void)
{
    if (word)
        count_up();
}
static int handlers(void)
{
    map_page();
    atexit(count_up);
    atexit(count_up);
    printf("no newline");
    return 0;
}

/* --- signals ------------------------------------------------------------------------------------------------ */

static int by_abort(void)
{
    abort();
}
static int by_segv(void)
{
    *(volatile int *)8 = 1;
    return 0;
}
static int by_term(void)
{
    kill(getpid(), SIGTERM);
    for (;;)
        pause();
}
static int by_kill(void)
{
    kill(getpid(), SIGKILL);
    return 0;
}
static void leave_fast(int signal)
{
    _exit(signal);
}
static int handled_term(void)
{
    signal(SIGTERM, leave_fast);
    return by_term();
}
static int ignored_term(void)
{
    signal(SIGTERM, SIG_IGN);
    kill(getpid(), SIGTERM);
    return 0;
}
/* A handler that ends the program, in the middle of malloc more likely than not. */
static int handler_in_malloc(void)
{
    signal(SIGVTALRM, leave_fast);
    struct itimerval_alias {
        struct timeval a, b;
    } t = {{0, 0}, {0, 50000}};
    syscall(SYS_setitimer, 1, &t, NULL);
    for (;;)
        free(malloc(100));
}
static int term_in_malloc(void)
{
    pid_t target = getpid();
    if (fork() == 0) {
        ms(80);
        kill(target, SIGTERM);
        syscall(SYS_exit_group, 0);
    }
    for (;;)
        free(malloc(100));
}

/* --- exec ----------------------------------------------------------------------------------------------------- */

extern char **environ;
static char *again[] = {"ways", "return3", NULL};

static int by_execl(void)
{
    return execl(self, "ways", "return3", (char *)NULL);
}
static int by_execlp(void)
{
    return execlp(self, "ways", "return3", (char *)NULL);
}
static int by_execle(void)
{
    return execle(self, "ways", "return3", (char *)NULL, environ);
}
static int by_execv(void)
{
    return execv(self, again);
}
static int by_execve(void)
{
    return execve(self, again, environ);
}
static void path_to_self(void)
{
    char path[4096];
    *strrchr(self, '/') = '\0';
    snprintf(path, sizeof(path), "/nonexistent:%s:/bin", self);
    setenv("PATH", path, 1);
}
static int by_execvp(void)
{
    path_to_self();
    return execvp("ways", again);
}
static int by_execvpe(void)
{
    path_to_self();
    return execvpe("ways", again, environ);
}
static int by_fexecve(void)
{
    return fexecve(open(self, O_RDONLY | O_CLOEXEC), again, environ);
}
static int by_execveat(void)
{
    return execveat(AT_FDCWD, self, again, environ, 0);
}
static int exec_nothing(void)
{
    if (execl("/nonexistent", "x", (char *)NULL) != -1 || errno != ENOENT)
        return 99;
    if (execvp("ways-does-not-exist", again) != -1 || errno != ENOENT)
        return 98;
    if (execv("/", again) != -1 || errno != EACCES)
        return 97;
    return 3;
}
static int exec_fails(void)
{
    char name[] = "/tmp/heaptally-ways-junk-XXXXXX";
    int fd = mkstemp(name);
    if (write(fd, "\177ELFjunk", 8) != 8)
        return 96;
    fchmod(fd, 0700);
    close(fd);
    int result = execv(name, again), error = errno;
    unlink(name);
    return result == -1 && error == ENOEXEC ? 3 : 95;
}

/* --- children --------------------------------------------------------------------------------------------------- */

static int wait_for(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        return 99;
    ms(50);
    return WEXITSTATUS(status);
}
static int fork_child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        exit(5);
    return wait_for(pid);
}
static int fork_fork(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(fork_child());
    return wait_for(pid);
}
static int vfork_exit(void)
{
    pid_t pid = vfork();
    if (pid == 0)
        _exit(5);
    return wait_for(pid);
}
static int vfork_exec(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execl(self, "ways", "return3", (char *)NULL);
        _exit(99);
    }
    return wait_for(pid);
}
static int spawned(void)
{
    pid_t pid;
    if (posix_spawn(&pid, self, NULL, NULL, again, environ) != 0)
        return 98;
    return wait_for(pid);
}
static int raw_fork(void)
{
    pid_t pid = (pid_t)syscall(SYS_fork);
    if (pid == 0)
        exit(5);
    return wait_for(pid);
}
static int fork_in_threads(void)
{
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0)
            syscall(SYS_exit_group, 0);
        waitpid(pid, NULL, 0);
    }
    return 0;
}
static void *forks(void *unused)
{
    (void)unused;
    for (;;)
        fork_in_threads();
}
static int exit_while_forking(void)
{
    start(forks, NULL);
    ms(100);
    return 0;
}

/* --- descriptors --------------------------------------------------------------------------------------------------- */

static int closed_all(void)
{
    close_range(3, ~0u, 0);
    return 3;
}
/* Every number is something else now; nothing may be written into it. */
static int reused_all(void)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
        return 99;
    for (int fd = ends[1] + 1; fd < 1100; fd++)
        dup2(ends[1], fd);
    pid_t pid = fork();
    if (pid == 0)
        exit(3);
    int code = wait_for(pid);
    char c;
    return read(ends[0], &c, 1) == -1 && errno == EAGAIN ? code : 98;
}

/* --- threads ------------------------------------------------------------------------------------------------------- */

static void *sleeps(void *unused)
{
    (void)unused;
    for (;;)
        pause();
}
static void *spins(void *unused)
{
    (void)unused;
    for (;;)
        __asm__ volatile("pause" : : : "memory");
}
static void *allocates(void *unused)
{
    (void)unused;
    for (;;)
        free(malloc(100));
}
static int threads100(void)
{
    for (int i = 0; i < 100; i++)
        start(i % 4 == 0 && i < 16 ? allocates : i % 4 == 1 && i < 16 ? spins : sleeps, NULL);
    ms(20);
    return 0;
}
static int threads1000(void)
{
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 1000; i++)
        if (pthread_create(&thread, &small, sleeps, NULL) != 0)
            return 99;
    return 0;
}
static int threads1000_started(void)
{
    int code = threads1000();
    ms(700); /* a snapshot comes meanwhile */
    return code;
}
static void *blocks_all(void *unused)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    return sleeps(unused);
}
static int blocked(void)
{
    start(blocks_all, NULL);
    start(sleeps, NULL);
    ms(50);
    return 0;
}
/* A signal left behind where it is blocked would turn up in the program's sigwait or signalfd one day. */
static void *blocks_and_looks(void *unused)
{
    (void)unused;
    sigset_t all, pending;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    ms(700);
    sigpending(&pending);
    _exit(sigismember(&pending, SIGRTMAX - 3) || sigismember(&pending, SIGURG) ? 9 : 0);
}
static int nothing_pending(void)
{
    start(blocks_and_looks, NULL);
    for (;;)
        pause();
}
static void *waits_for_signals(void *unused)
{
    (void)unused;
    sigset_t all;
    int signal;
    sigfillset(&all);
    sigwait(&all, &signal);
    printf("woken by %d\n", signal);
    fflush(stdout);
    _exit(9);
}
static int sigwaiter(void)
{
    start(waits_for_signals, NULL);
    ms(50);
    return 0;
}
static int sigwaiter_waits(void)
{
    start(waits_for_signals, NULL);
    ms(700);
    return 0;
}
static int signal_reset(void)
{
    start(sleeps, NULL);
    for (int i = 1; i <= SIGRTMAX; i++)
        signal(i, SIG_DFL);
    ms(50);
    return 0;
}
static int signal_taken(void)
{
    signal(SIGRTMAX - 3, leave_fast);
    return threads100();
}
static void *short_life(void *unused)
{
    return unused;
}
static void *breeds(void *unused)
{
    (void)unused;
    pthread_t thread;
    for (;;)
        if (pthread_create(&thread, NULL, short_life, NULL) == 0)
            pthread_join(thread, NULL);
}
static int churn(void)
{
    for (int i = 0; i < 4; i++)
        start(breeds, NULL);
    ms(200);
    return 0;
}
static void *holds_rbx(void *unused)
{
    (void)unused;
    uint64_t magic = WAYS_RBX;
    __asm__ volatile("movq %0, %%rbx\n1: pause\n jmp 1b" : : "r"(magic) : "rbx");
    return NULL;
}
static int in_register(void)
{
    start(holds_rbx, NULL);
    ms(20);
    return 0;
}
static void *changes_page(void *unused)
{
    (void)unused;
    for (;;)
        (*word)++;
}
static int stands_still(void)
{
    map_page();
    for (int i = 0; i < 4; i++)
        start(changes_page, NULL);
    ms(50);
    return 0;
}
static void *changes_page_slowly(void *unused)
{
    (void)unused;
    for (;; usleep(500))
        (*word)++;
}
static void *breeds_changers(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++)
        start(changes_page_slowly, NULL);
    return sleeps(NULL);
}
/* Threads that start while the others are being stopped. */
static int still_growing(void)
{
    map_page();
    start(breeds_changers, NULL);
    start(breeds_changers, NULL);
    ms(5);
    return 0;
}
static int memory(void)
{
    map_page();
    *word = 77;
    return 0;
}

/* --- snapshots: one comes about 300 ms after the start ------------------------------------------------------------- */

static volatile unsigned turns[3];
static void *turns_on(void *index)
{
    for (;;)
        turns[(intptr_t)index]++;
}
static void *reads(void *arg)
{
    char c;
    int *ends = arg;
    if (read(ends[0], &c, 1) != 1 || c != 'x')
        _exit(9);
    return NULL;
}
/* The program goes on, its threads too; a read is not interrupted; there is no child and no message for it. */
static int goes_on(void)
{
    int ends[2], status;
    pthread_t reader;
    if (pipe(ends) != 0)
        return 99;
    start(turns_on, (void *)0);
    start(turns_on, (void *)1);
    start(allocates, NULL);
    pthread_create(&reader, NULL, reads, ends);
    for (int i = 0; i < 7; i++) {
        struct timespec step = {0, 100000000};
        while (nanosleep(&step, &step) != 0)
            ;
    }
    if (waitpid(-1, &status, WNOHANG) != -1 || errno != ECHILD)
        return 98;
    unsigned before = turns[0], before1 = turns[1];
    for (int i = 0; turns[0] == before || turns[1] == before1; i++, ms(10))
        if (i == 500)
            return 97;
    if (write(ends[1], "x", 1) != 1 || pthread_join(reader, NULL) != 0)
        return 96;
    syscall(SYS_exit_group, 0);
    return 95;
}
static int in_malloc(void)
{
    struct timespec from, now;
    clock_gettime(CLOCK_MONOTONIC, &from);
    do {
        for (int i = 0; i < 1000; i++)
            free(malloc(50));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - from.tv_sec < 2);
    return 0;
}
static int undumpable(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    return 3;
}

/* --- a program that has closed its own doors ------------------------------------------------------------------------ */

/* Traps the calls of the list, that is: SIGSYS, which kills where it is not expected. */
static void sandbox(const int *calls, size_t count)
{
    struct sock_filter filter[32] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    size_t n = 1;
    for (size_t i = 0; i < count; i++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)n, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        exit(94);
}
static int no_tracing(void)
{
    static const int calls[] = {SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_prctl,
                                SYS_sched_yield};
    start(sleeps, NULL);
    start(waits_for_signals, NULL);
    ms(20);
    sandbox(calls, sizeof(calls) / sizeof(calls[0]));
    return 3;
}
static int no_threads_list(void)
{
    static const int calls[] = {SYS_getdents64, SYS_tgkill, SYS_socket, SYS_prctl, SYS_readlink};
    sandbox(calls, sizeof(calls) / sizeof(calls[0]));
    return 3;
}
static int no_list_of_many(void)
{
    threads100();
    return no_threads_list();
}
static int no_connection(void)
{
    static const int calls[] = {SYS_socket};
    sandbox(calls, 1);
    close_range(3, ~0u, 0);
    return 3;
}

static const struct {
    const char *name;
    int (*run)(void);
} cases[] = {
#define CASE(name)                                                                                           \
    {                                                                                                        \
#name, name                                                                                          \
    }
    CASE(return3),
    CASE(exit3),
    CASE(fast4),
    CASE(fast_c4),
    CASE(quick5),
    CASE(thread_exit),
    CASE(last_thread),
    CASE(main_gone),
    CASE(atexit_fast),
    CASE(many_exits),
    CASE(handlers),
    CASE(by_abort),
    CASE(by_segv),
    CASE(by_term),
    CASE(by_kill),
    CASE(handled_term),
    CASE(ignored_term),
    CASE(handler_in_malloc),
    CASE(term_in_malloc),
    CASE(by_execl),
    CASE(by_execlp),
    CASE(by_execle),
    CASE(by_execv),
    CASE(by_execve),
    CASE(by_execvp),
    CASE(by_execvpe),
    CASE(by_fexecve),
    CASE(by_execveat),
    CASE(exec_nothing),
    CASE(exec_fails),
    CASE(fork_child),
    CASE(fork_fork),
    CASE(vfork_exit),
    CASE(vfork_exec),
    CASE(spawned),
    CASE(raw_fork),
    CASE(exit_while_forking),
    CASE(closed_all),
    CASE(reused_all),
    CASE(threads100),
    CASE(threads1000),
    CASE(threads1000_started),
    CASE(blocked),
    CASE(sigwaiter),
    CASE(sigwaiter_waits),
    CASE(signal_reset),
    CASE(signal_taken),
    CASE(churn),
    CASE(in_register),
    CASE(memory),
    CASE(goes_on),
    CASE(in_malloc),
    CASE(undumpable),
    CASE(nothing_pending),
    CASE(still_growing),
    CASE(stands_still),
    CASE(no_list_of_many),
    CASE(no_tracing),
    CASE(no_threads_list),
    CASE(no_connection),
};

int main(int argc, char **argv)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    self = path;
    for (size_t i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++)
        if (!strcmp(argv[1], cases[i].name))
            return cases[i].run();
    return 100;
}
