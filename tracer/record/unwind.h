/* SPDX-License-Identifier: MIT */
/*
 * unwind.h - a way to walk a stack, behind a small struct of pointers.
 *
 *    capture.c --(a step, or a whole walk)--> struct unwinder --> unwind_libunwind.c   (the only backend)
 *        '--(plain frames)--> rules.h <--(puts)--'
 *
 * A walker gets the registers of the innermost frame and a struct walk of the calling context. It steps
 * outward and hands each frame to `frame`, which answers whether to go on. Plain values cross this line, none
 * of the backend's types.
 *
 * Threads: walk() runs on the capture stack of its context; any number of contexts at once, one walk in each.
 * A backend may take locks of its own (libunwind's pools have some, taken with signals blocked) but none of
 * ours and none of the program's: never the loader's (code is found by _dl_find_object) and never malloc's
 * once warm.
 */
#ifndef HEAPTALLY_UNWIND_H
#define HEAPTALLY_UNWIND_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/format/tables.h"

/* Registers in DWARF order: rax rdx rcx rbx rsi rdi rbp rsp r8..r15. */
#define UNWIND_REGISTERS 16u
#define UNWIND_RBX       3u
#define UNWIND_RBP       6u
#define UNWIND_RSP       7u
#define UNWIND_R12       12u

struct unwind_frame {
    uint64_t ip; /* a return address; the exact pc + 1 where `exact` says so, so that ip - 1 always lies in
                    the code */
    bool exact;  /* the frame was interrupted by a signal */
    const uint64_t *registers; /* the frame's, DWARF order; only rsp and the callee-saved ones mean something.
                                  NULL unless asked for */
};

struct unwind_request {
    uint64_t ip;
    uint64_t registers[UNWIND_REGISTERS];
    bool want_registers;
    bool (*frame)(void *ctx, const struct unwind_frame *frame); /* false: stop here */
    void (*restart)(void *ctx); /* the frames told so far are void: the walk begins again */
    void *ctx;
};

/* A frame as rules need it. */
struct unwind_place {
    uint64_t ip, rsp, rbp;
    bool exact; /* ip is the very instruction: a signal interrupted it */
};

typedef uint64_t __attribute__((may_alias)) stack_word;

/* Of this thread's stack, wherever in a frame: AddressSanitizer need not see it. */
static inline uint64_t stack_word_at(uint64_t address)
{
#if defined(__SANITIZE_ADDRESS__)
    uint64_t word;
    __asm__("movq (%1), %0" : "=r"(word) : "r"(address) : "memory");
    return word;
#else
    return *(const stack_word *)(uintptr_t)address;
#endif
}

/* A word of the stack, and what was in it. */
struct unwind_word {
    uint64_t at, value;
};

/* What a step has read, in its order, beside the place it began with and code: as long as these words are so, the step
 * leads to the same frame. */
#define UNWIND_READS 8u
struct unwind_reads {
    uint32_t count; /* more than UNWIND_READS: not all are here */
    struct unwind_word word[UNWIND_READS];
};

enum unwind_step {
    UNWIND_STEPPED,
    UNWIND_LAST,       /* this was the outermost frame */
    UNWIND_NO_INFO,    /* nothing tells where its caller is */
    UNWIND_NEEDS_MORE, /* registers that a place has not */
};

struct unwinder {
    const char *name;
    /* Find what is needed; false with one clause in *ret_why. Called once, one thread, outside malloc. */
    bool (*start)(const char **ret_why);
    /* After the first walk: what starting left behind that the program could notice goes away. Still one thread. */
    void (*settle)(void);
    /* What a context needs of the backend: an opaque state, made once a context; NULL when it cannot be had.
     * Blocks that it takes from malloc are told to own_block. */
    void *(*new_state)(void (*own_block)(void *block));
    /* Code may have gone or come since the last walk with this state: the module list is now in this epoch.
     */
    void (*forget)(void *state, uint32_t epoch);
    /* Why the walk ended; SITE_END_COMPLETE also when `frame` said stop. */
    enum site_end (*walk)(void *state, const struct unwind_request *request);
    /* One frame outward. */
    enum unwind_step (*step)(void *state, struct unwind_place *at, struct unwind_reads *ret_reads);
    /* The stack that this state has found readable so far, one range. */
    void (*readable)(const void *state, uint64_t *ret_low, uint64_t *ret_high);
};

extern const struct unwinder unwinder_libunwind;

#endif
