/* SPDX-License-Identifier: MIT */
/*
 * context.h - what one walk needs, and where it runs.
 *
 *   caller's stack            capture stack of the context (128 KiB)
 *   +-----------------+       +------------------+
 *   | program frames  |       | walker, libunwind|
 *   | malloc          |  ---> |                  |
 *   | record_capture  |       |                  |
 *   +-----------------+       +------------------+
 *
 * libunwind takes 4 to 10 KB of stack: too much for 16 KiB threads and 8 KiB alternate signal stacks. So the
 * walk runs elsewhere, and the caller pays about 200 bytes.
 *
 * A context belongs to one thread from its first capture to its exit (context_release); then it is reused.
 * Contexts are never unmapped. `walking` is the fork gate's half: set by the owner round every walk, read by
 * the forking thread.
 *
 * The fork gate: a walk may hold libunwind's own locks, and a child forked then would find them locked for
 * ever. So fork waits until nobody walks, and walks wait while somebody forks: owner: walking = 1; fence;
 * gate? -> forker: gate = 1; fence; walking? (sequentially consistent on both sides: at least one sees the
 * other).
 */
#ifndef HEAPTALLY_CONTEXT_H
#define HEAPTALLY_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/record/modules.h"
#include "tracer/record/record.h"
#include "tracer/record/unwind.h"

/* A walk takes about 10 KB. The rest is for signal frames, 3 KiB each, and their handlers: who interrupts a walk runs
 * here too. */
#define CONTEXT_STACK_SIZE (128u * 1024u)

struct context {
    struct context *next; /* all contexts ever made; constant once linked */
    uint32_t in_use;      /* 0: free; the owner's claim (platform.h), or 1. Under the list's lock */
    uint32_t walking;     /* owner writes, forking thread reads (see above) */
    uint32_t epoch;       /* modules_epoch() the backend's state is good for; owner only */
    void *state;          /* the backend's; owner only */
    struct module_cache modules;
    uint32_t frame_limit; /* of the walk going on */
    uint32_t frame_count;
    struct {
        uint64_t ip;
        uint32_t module;
    } frames[RECORD_DEPTH_MAX]; /* of the walk going on */
    char *stack_top;
};

/* Once, before the first context: the backend, and who is told of its blocks (unwind.h). */
void contexts_start(const struct unwinder *backend, void (*own_block)(void *block));
/* The calling thread's context, made or reused; NULL when memory is out. */
struct context *context_get(void);
/* The calling thread gives its context back. */
void context_release(void);

/* The same in the middle of a walk that will never go on. */
void context_abandon(void);

/* Round every walk. */
void context_walk_begin(struct context *context);
void context_walk_end(struct context *context);

void contexts_fork_prepare(void);
void contexts_fork_parent(void);
bool contexts_lock_is_mine(void); /* by this very thread */
void contexts_fork_child(void);

/* The caller's registers as they are after the call returns (ip: the return address), and fn(arg) on the
 * stack that ends at `top`. Only callee-saved registers, rsp and ip are stored; the rest of *ret is left
 * alone. */
void context_run_on_stack(void (*fn)(void *), void *arg, char *top, uint64_t *ret_ip,
                          uint64_t ret_registers[UNWIND_REGISTERS]);

#endif
