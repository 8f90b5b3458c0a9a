/* SPDX-License-Identifier: MIT */
/* scheduler.c - see scheduler.h: memory and its undo log, coroutines, accesses. explore.c decides who is next. */
#include "tests/interleave/scheduler_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *text)
{
    fprintf(stderr, "interleave: %s\n", text);
    exit(2);
}

/* --- shared memory and its undo log ----------------------------------------------------------------------------- */

extern char __data_start[], _end[]; /* the linker's: all static data */

unsigned char *scheduler_memory;
struct undo undo;
struct run run;

static bool is_shared(uintptr_t address)
{
    return address - (uintptr_t)scheduler_memory < SCHEDULER_MEMORY ||
           address - (uintptr_t)__data_start < (uintptr_t)(_end - __data_start);
}

static void undo_remember(uintptr_t address, size_t size)
{
    for (uintptr_t word = address & ~(uintptr_t)7; word < address + size; word += 8) {
        if (undo.count == UNDO_MAX)
            die("a schedule writes too much");
        undo.log[undo.count].address = (uint64_t *)word;
        undo.log[undo.count++].before = *(uint64_t *)word;
    }
}

void undo_to(uint32_t mark)
{
    while (undo.count > mark) {
        undo.count--;
        *undo.log[undo.count].address = undo.log[undo.count].before;
    }
}

/* --- coroutines ------------------------------------------------------------------------------------------------- */

/* Push what a callee must keep, store the stack in *from, take up `to`. */
__attribute__((naked, noinline)) static void coroutine_switch(void **from __attribute__((unused)),
                                                              void *to __attribute__((unused)))
{
    __asm__("push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
            "mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
            "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");
}

static void coroutine_main(void)
{
    run.scenario->thread[run.current]();
    run.thread[run.current].ended = true;
    coroutine_switch(&run.thread[run.current].sp, run.sp);
    abort();
}

void thread_locals_save(struct coroutine *thread)
{
    thread->heap = alloc_heap;
    thread->own_heap = alloc_own_heap;
    thread->state = alloc_thread;
}

static void thread_locals_load(const struct coroutine *thread)
{
    alloc_heap = thread->heap;
    alloc_own_heap = thread->own_heap;
    alloc_thread = thread->state;
}

int scheduler_who(void)
{
    return run.current < 0 ? 0 : run.current;
}

void scheduler_become(int which)
{
    if (run.current >= 0)
        thread_locals_save(&run.thread[run.current]);
    run.current = which;
    thread_locals_load(&run.thread[which]);
}

/* Go on with a thread until its next access, or its end. */
void coroutine_resume(int which)
{
    scheduler_become(which);
    run.running = true;
    coroutine_switch(&run.sp, run.thread[which].sp);
    run.running = false;
}

void coroutine_start(int which)
{
    struct coroutine *thread = &run.thread[which];
    void **top = (void **)(void *)((char *)thread->stack + STACK_SIZE);
    *--top = NULL; /* keeps the stack aligned as after a call */
    *--top = (void *)coroutine_main;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    thread->sp = top;
    thread->ended = false;
    coroutine_resume(which);
}

void scheduler_fail(const char *text)
{
    if (run.failure == NULL)
        run.failure = text;
}

void scheduler_outcome(unsigned number)
{
    run.outcomes |= (uint64_t)1 << number;
}

/* --- accesses --------------------------------------------------------------------------------------------------- */

void scheduler_access(const void *address, size_t size, enum access_kind kind, const void *pc)
{
    struct coroutine *thread = &run.thread[run.current < 0 ? 0 : run.current];
    if (size == 0 || !is_shared((uintptr_t)address))
        return;
    if (run.running && !run.atomic) {
        thread->next = (struct access){(uintptr_t)address, size, kind, pc};
        coroutine_switch(&thread->sp, run.sp);
    }
    if (kind != ACCESS_READ && kind != ACCESS_ALL)
        undo_remember((uintptr_t)address, size);
}

void scheduler_atomic_begin(void)
{
    run.atomic = true;
}

void scheduler_atomic_end(void)
{
    run.atomic = false;
}

void scheduler_snapshot(void (*look)(void))
{
    struct coroutine *thread = &run.thread[run.current];
    scheduler_access(scheduler_memory, 8, ACCESS_ALL, __builtin_return_address(0));
    uint32_t mark = undo.count;
    struct coroutine kept[THREADS_MAX];
    int current = run.current;
    thread_locals_save(thread);
    memcpy(kept, run.thread, sizeof kept);
    run.running = false;
    look();
    run.running = true;
    undo_to(mark);
    run.current = current;
    memcpy(run.thread, kept, sizeof kept);
    thread_locals_load(thread);
}
