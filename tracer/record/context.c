/* SPDX-License-Identifier: MIT */
#include "tracer/record/context.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/platform.h"
#include "tracer/record/trace.h"

#define CONTEXTS_FIRST 16u /* fewer are not worth a look */

static struct platform_lock lock; /* guards the list's head and every in_use */
static struct context *all;       /* written under lock (release), read by fork without it (acquire) */
__thread struct context *context_own;
static const struct unwinder *unwinder; /* constant after contexts_start */
static void (*own_block)(void *block);  /* likewise */
static uint32_t depth;                  /* likewise */
static uint64_t *tallies;               /* likewise; what it points to: under lock */
static uint32_t gate;                   /* 1 while a thread forks; written by it, read by walkers */

/* rdi fn, rsi arg, rdx top, rcx ret_ip, r8 ret_registers. */
__asm__(".text\n"
        ".hidden context_run_on_stack\n"
        ".globl context_run_on_stack\n"
        ".type context_run_on_stack, @function\n"
        "context_run_on_stack:\n"
        ".cfi_startproc\n"
        "    movq (%rsp), %rax\n"
        "    movq %rax, (%rcx)\n"
        "    leaq 8(%rsp), %rax\n"
        "    movq %rax, 56(%r8)\n" /* rsp: 7 */
        "    movq %rbx, 24(%r8)\n" /* rbx: 3 */
        "    movq %rbp, 48(%r8)\n" /* rbp: 6 */
        "    movq %r12, 96(%r8)\n"
        "    movq %r13, 104(%r8)\n"
        "    movq %r14, 112(%r8)\n"
        "    movq %r15, 120(%r8)\n"
        "    pushq %rbp\n"
        ".cfi_adjust_cfa_offset 8\n"
        ".cfi_rel_offset rbp, 0\n"
        "    movq %rsp, %rbp\n"
        ".cfi_def_cfa_register rbp\n"
        "    movq %rdx, %rsp\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    call *%rax\n"
        "    movq %rbp, %rsp\n"
        "    popq %rbp\n"
        ".cfi_def_cfa rsp, 8\n"
        ".cfi_restore rbp\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size context_run_on_stack, .-context_run_on_stack\n");

void contexts_start(const struct unwinder *backend, void (*told)(void *block), uint32_t depth_limit,
                    uint64_t *published)
{
    depth = depth_limit;
    unwinder = backend;
    own_block = told;
    tallies = published;
}

/* For context.in_use: the calling thread's claim, or 1 when it has none. */
static uint32_t claim(void)
{
    uint32_t mine = platform_thread_claim();
    return mine ? mine : 1;
}

/* What is known of a thread's stack is not known any more. */
static void begin_anew(struct context *context)
{
    context->epoch = context->plain_epoch = NO_EPOCH;
}

/* Threads that ended by the raw system call gave nothing back. Whoever would need a new context looks for theirs,
 * when there are twice as many as lived the last time (the lock is held). */
static struct context *collect(uint32_t count)
{
    static uint32_t look_at = CONTEXTS_FIRST;
    struct context *found = NULL;
    uint32_t gone = 0;

    if (count < look_at)
        return NULL;
    for (struct context *c = all; c; c = c->next) {
        if (!__atomic_load_n(&c->walking, __ATOMIC_RELAXED) && platform_thread_is_gone(c->in_use)) {
            c->in_use = 0;
            begin_anew(c);
            found = c;
            gone++;
        }
    }
    look_at = 2 * (count - gone) > CONTEXTS_FIRST ? 2 * (count - gone) : CONTEXTS_FIRST;
    return found;
}

/* The lock is held. */
static struct context *reuse(void)
{
    struct context *found = all;
    uint32_t count = 0;

    for (; found && found->in_use; found = found->next)
        count++;
    if (!found)
        found = collect(count);
    if (found)
        found->in_use = claim();
    return found;
}

/* What depends on how deep stacks may be, in one piece. */
static bool make_room(struct context *context)
{
    size_t frames = depth + FRAMES_MORE, words = 3 * frames;
    size_t size = (1 + frames) * sizeof(context->last[0]) + frames * sizeof(context->fresh[0]) +
                  2 * words * sizeof(context->words[0]) + depth * sizeof(context->frames[0]);

    context->last = platform_map_metadata(size);
    if (!context->last)
        return false;
    context->last++->rsp = UINT64_MAX;
    context->fresh = (struct fresh_frame *)(context->last + frames);
    context->words = (struct unwind_word *)(context->fresh + frames);
    context->fresh_words = context->words + words;
    context->frames = (uint64_t *)(context->fresh_words + words);
    context->frames_max = (uint32_t)frames;
    context->words_max = (uint32_t)words;
    return true;
}

/* The lock is held. Who reads a trace gets no further than to what is not in it. */
static void publish(struct thread_tallies *made)
{
    uint64_t *at = tallies;

    if (!trace_has(made))
        while (*at)
            at = &((struct thread_tallies *)(uintptr_t)*at)->next;
    made->next = *at;
    __atomic_store_n(at, (uintptr_t)made, __ATOMIC_RELEASE);
}

static struct context *new_context(void)
{
    struct context *made = platform_map_metadata(sizeof(*made));
    char *stack = platform_map_metadata(CONTEXT_STACK_SIZE);

    if (!made || !stack || !make_room(made))
        return NULL;
    made->stack_top = stack + CONTEXT_STACK_SIZE;
    made->in_use = claim();
    made->unwinder = unwinder;
    made->words[0] = (struct unwind_word){(uintptr_t)&made->never, 1};
    made->end_words = made->words + 1;
    made->version = 1;
    begin_anew(made);
    made->state = unwinder->new_state(own_block);
    if (!made->state || !tally_start(&made->tally, &made->version))
        return NULL;
    platform_lock(&lock);
    made->next = all;
    __atomic_store_n(&all, made, __ATOMIC_RELEASE);
    publish(made->tally.shared);
    platform_unlock(&lock);
    return made;
}

struct context *context_obtain(void)
{
    int saved = errno;
    platform_lock(&lock);
    struct context *context = reuse();
    platform_unlock(&lock);
    if (!context)
        context = new_context();
    context_own = context;
    errno = saved;
    return context;
}

void context_release(void)
{
    struct context *context = context_own;

    if (!context)
        return;
    context_own = NULL;
    begin_anew(context); /* what the backend knows, too, is not to be believed on another thread's stack */
    platform_lock(&lock);
    context->in_use = 0;
    platform_unlock(&lock);
}

void context_abandon(void)
{
    if (context_own)
        __atomic_store_n(&context_own->walking, 0, __ATOMIC_RELEASE);
    context_release();
}

static void futex(uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

void context_walk_begin(struct context *context)
{
    for (;;) {
        __atomic_store_n(&context->walking, 1, __ATOMIC_SEQ_CST);
        if (__builtin_expect(!__atomic_load_n(&gate, __ATOMIC_SEQ_CST), 1))
            return;
        __atomic_store_n(&context->walking, 0, __ATOMIC_SEQ_CST);
        futex(&gate, FUTEX_WAIT_PRIVATE, 1);
    }
}

void context_walk_end(struct context *context)
{
    __atomic_store_n(&context->walking, 0, __ATOMIC_RELEASE);
}

/* One forker at a time: the gate is its lock. A signal handler that forks in the middle of its own thread's
 * walk does not wait for that walk; libunwind takes its locks with signals blocked, so none is held there. */
void contexts_fork_prepare(void)
{
    uint32_t open = 0;

    while (!__atomic_compare_exchange_n(&gate, &open, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        futex(&gate, FUTEX_WAIT_PRIVATE, 1);
        open = 0;
    }
    for (struct context *c = __atomic_load_n(&all, __ATOMIC_ACQUIRE); c; c = c->next) {
        while (c != context_own && __atomic_load_n(&c->walking, __ATOMIC_SEQ_CST))
            sched_yield();
    }
    platform_lock(&lock);
}

void contexts_fork_parent(void)
{
    platform_unlock(&lock);
    __atomic_store_n(&gate, 0, __ATOMIC_SEQ_CST);
    futex(&gate, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

bool contexts_lock_is_mine(void)
{
    return platform_lock_is_mine(&lock);
}

void contexts_fork_child(void)
{
    platform_lock_reset(&lock);
    for (struct context *c = all; c; c = c->next) {
        c->in_use = c == context_own;
        if (c != context_own)
            c->walking = 0;
        begin_anew(c); /* of its own as well: so that it looks whether its trace is due */
    }
    __atomic_store_n(&gate, 0, __ATOMIC_SEQ_CST);
}

void contexts_forget_tallies(void)
{
    for (struct context *c = all; c; c = c->next)
        tally_forget(&c->tally);
}
