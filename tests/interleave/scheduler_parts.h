/* SPDX-License-Identifier: MIT */
/*
 * scheduler_parts.h - what scheduler.c (memory, coroutines) and explore.c (which orders) share.
 *
 * Threads: none.
 */
#ifndef HEAPTALLY_INTERLEAVE_SCHEDULER_PARTS_H
#define HEAPTALLY_INTERLEAVE_SCHEDULER_PARTS_H

#include "allocator/state.h"

#include "tests/interleave/scheduler.h"

#define STACK_SIZE ((size_t)256 << 10)
#define UNDO_MAX   4000000u

__attribute__((noreturn)) void die(const char *text);

/* What every word held before it was written. */
struct undo {
    struct {
        uint64_t *address, before;
    } * log;
    uint32_t count;
    unsigned char *kept_memory; /* what scheduler_memory was after the set-up */
};
extern struct undo undo;
void undo_to(uint32_t mark);

struct access {
    uintptr_t address;
    size_t size;
    enum access_kind kind;
    const void *pc;
};

struct coroutine {
    void *stack, *sp;
    bool ended;
    struct access next; /* what it is about to do */
    /* Its thread-local variables, while another's are in place. */
    struct heap *heap, *own_heap;
    struct alloc_thread_state state;
};

struct run {
    const struct scenario *scenario;
    struct coroutine thread[THREADS_MAX];
    int count, current; /* current: whose thread-local variables are in place; -1: the scheduler runs */
    bool running, atomic;
    void *sp;
    const char *failure;
    uint64_t outcomes;
    bool reduce;
};
extern struct run run;

void thread_locals_save(struct coroutine *thread);
/* Go on with a thread until its next access, or its end. */
void coroutine_resume(int which);
/* From its beginning until its first access. */
void coroutine_start(int which);

#endif
