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
 * libunwind takes 4 to 10 KB of stack: too much for 16 KiB threads and 8 KiB alternate signal stacks. So what
 * needs it runs elsewhere; plain frames are stepped on the caller's stack (capture.h).
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
#include "tracer/record/tally.h"
#include "tracer/record/unwind.h"

/* A walk takes about 10 KB. The rest is for signal frames, 3 KiB each, and their handlers: who interrupts a walk runs
 * here too. */
#define CONTEXT_STACK_SIZE (128u * 1024u)

/* Never modules_epoch(), not even that of a child forked unseen, which is 0. */
#define NO_EPOCH UINT32_MAX

#define OWN_FRAMES 16u /* at most so many of the library's at the inner end of a stack */

/* As many frames are kept as a stack may have and, of a deeper one, some more, so that they are not walked anew at every
 * call or return. */
#define FRAMES_MORE 128u

/* One line. */
struct last_frame {
    uint64_t ip, rsp, rbp;
    uint64_t path;                       /* of this frame and all outer ones (sites.h) */
    const struct unwind_word *words_end; /* words up to this one led to this frame and all outer ones */
    const struct unwind_word *words_out; /* to all outer ones */
    uint32_t site;                       /* of it, 0: not looked for yet */
    bool exact;                          /* ip is the very instruction: a signal interrupted it */
    bool needs_rbp;                      /* what is outside of it depends on the frame's rbp */
    uint64_t unused;
};
_Static_assert(sizeof(struct last_frame) == 64, "found by a shift");

/* A frame of the capture going on. */
struct fresh_frame {
    uint64_t ip, rsp, rbp;
    uint64_t rbp_at; /* FRAME_PLAIN: where the step read rbp, 0: it did not */
    uint64_t state;
};
/* Of a frame, or a walk that came to it: */
#define FRAME_EXACT     1u /* 1, as a number; see last_frame */
#define FRAME_PLAIN     2u /* one step by a plain rule led here, which read ip just below this rsp */
#define FRAME_FROM_RBP  4u /* the step from here begins with rbp */
#define FRAME_KEEPS_RBP 8u /* the step from here leaves rbp as it is */
/* Above: fresh_words[those of the inner frame .. these) led here, where it is not FRAME_PLAIN. */
#define FRAME_WORDS(state) ((uint32_t)((state) >> 32))
#define FRAME_ONE_WORD     (1ull << 32)

/* A plain rule, where the processor finds it sooner than in everybody's table. */
#define KNOWN_RULES_LOG 10u
struct known_rule {
    uint64_t pc; /* 0: none */
    int32_t cfa_offset;
    int16_t rbp_words; /* rbp is saved so many words from the CFA; 0: not */
    uint16_t state;    /* FRAME_FROM_RBP, or FRAME_KEEPS_RBP, or both */
};

/* Frames that calls from different stacks are made in: where they return to is a part of the hash by which those calls, and
 * frees, are found. No more than a hint: nobody believes it. (With more frames fewer calls are looked at in vain, but all
 * the hashes cost more than that.) */
#define KNOWN_PLACES 256u
struct known_place {
    uint64_t ip;  /* in the frame; 0: none */
    uint64_t out; /* bytes from its rsp to the return address; with the lowest bit set, from its rbp */
};
#define NOWHERE (1ull << 62) /* out: now here, now there */

/* Where what is known lies, by hash: so each can lie behind the one that was kept before it, and a thread that makes few kinds
 * of calls touches few pages. What was met last is the first of its bucket. A slot is a tag, 16 bits of the hash, and in the
 * upper half the number of what is kept, or 0: an empty slot's tag may be that of a call, but nothing is ever kept there. */
#define KNOWN_BUCKETS_LOG 9u
#define KNOWN_SLOTS       8u
#define KNOWN_COUNT       2048u
struct known_bucket {
    _Alignas(16) uint32_t slot[KNOWN_SLOTS];
};
struct known_index {
    struct known_bucket bucket[1u << KNOWN_BUCKETS_LOG];
    uint16_t bucket_of[KNOWN_COUNT];
    uint32_t next; /* where the next one is kept; 1 where nothing is */
    bool is_full;  /* something was kept there before */
};

/* A call that was captured, inward of a frame that may still be on the last stack: where it was made, the words that led from
 * there to that frame, and the site of all of it. */
#define CALL_WORDS       11u
#define CALL_WORDS_LEAST 3u
struct known_call {
    /* Looked at by every call from there. */
    uint64_t ip, rsp, rbp;           /* of the caller's frame */
    uint64_t version;                /* of the context: then `outer` and `tally` were right */
    const struct unwind_word *outer; /* of those that led outward from the base, the first */
    struct site_tally *tally;        /* the site's, or where that would be: never NULL */
    uint32_t site;
    uint16_t base; /* last[base - 1] is the frame that it is inward of */
    uint8_t
        count; /* of words, the innermost first; there are CALL_WORDS_LEAST, if need be such as are always the same */
    uint8_t flags; /* LEDGER_NEW: a block's, and CALL_NEEDS_RBP */
    struct unwind_word words[CALL_WORDS];
    /* The base as it was: by that it is known again when the last stack has changed. */
    uint64_t base_path, base_rsp, base_rbp;
};
#define CALL_NEEDS_RBP 0x80u /* rbp is a part of the place */
_Static_assert(sizeof(struct known_call) == 256, "found by a shift");
_Static_assert(RECORD_DEPTH_MAX + FRAMES_MORE <= UINT16_MAX, "a base can be told");

/* A free that was captured: the words that led to its nearest callers. They say by themselves that those are as they were,
 * whatever the last stack is by now. */
#define FREE_WORDS       14u
#define FREE_WORDS_LEAST (RECORD_FREE_DEPTH - 1)
struct known_free {
    uint64_t ip, rsp, rbp; /* of the caller's frame */
    uint32_t site;
    uint8_t count;  /* of words, the innermost first; there are FREE_WORDS_LEAST, as with calls */
    bool needs_rbp; /* rbp is a part of the place */
    uint16_t unused;
    struct unwind_word words[FREE_WORDS];
};
_Static_assert(sizeof(struct known_free) == 256, "found by a shift");

/* Of the last stacks that were told in passing, so many are remembered. (With 128 and 1,024 cc1plus keeps 7,000 and 18,000 calls
 * more, of 21,000, and 4,096 stacks in random order are dearer.) */
#define MET_LOG 5u

struct context {
    struct tally tally;   /* of all threads that had this context; owner only */
    struct context *next; /* all contexts ever made; constant once linked */
    uint32_t in_use;      /* 0: free; the owner's claim (platform.h), or 1. Under the list's lock */
    uint32_t walking;     /* owner writes, forking thread reads (see above) */
    uint32_t epoch;       /* modules_epoch() the backend's state is good for, or NO_EPOCH; owner only */
    uint32_t plain_epoch; /* the same, but NO_EPOCH where not every call is a plain one (hot.h); owner only */
    void *state;          /* the backend's; owner only */
    struct module_cache modules;
    uint32_t captures; /* check_stacks counts them */
    uint64_t version;  /* counted up before `last` changes, and when the tally moves. Never 0 */
    struct sample_state sample;
    char *stack_top;
    const struct unwinder *unwinder;

    /* Of the last capture, outermost frame first (capture.h). */
    uint32_t last_count;
    bool last_is_cut;                    /* last[0] has callers that are not here */
    enum site_end end;                   /* how it ended */
    const struct unwind_word *end_words; /* words up to this one say that the stack ended */
    uint64_t
        never; /* 0. A word that is no longer so, for steps whose reads are not known, and for words[0] */
    uint64_t low, high;             /* of the stack: readable */
    uint32_t frames_max, words_max; /* room in what follows. Constant, as the addresses */
    struct last_frame *last;
    /* That led from frame to frame: one that is never so, and from 1 on the outermost frame's, and inward. */
    struct unwind_word *words;
    struct known_rule rules[1u << KNOWN_RULES_LOG];
    bool has_rules;                          /* some */
    struct known_place places[KNOWN_PLACES]; /* by the lowest bits of ip */
    struct known_index call_index, free_index;
    struct known_call calls[KNOWN_COUNT];
    struct known_free frees[KNOWN_COUNT];
    /* Of stacks told in passing (capture_pass.c): parts of the last paths, each at a place that the rest of it tells; frames
     * since a walk was made; and those that came again where there are too many. */
    uint32_t met_calls[1u << MET_LOG], met_frees[1u << MET_LOG];
    uint32_t passed, crowded;
    /* Of the capture going on: its new frames, innermost first. */
    struct fresh_frame *fresh;
    struct unwind_word *fresh_words;

    /* Of a whole walk going on. */
    uint32_t frame_limit;
    uint32_t frame_count;
    uint64_t *frames; /* as many as a stack may have */
};

/* Once, before the first context: the backend, who is told of its blocks (unwind.h), how many frames a stack may have, and
 * where the newest tally is published. */
void contexts_start(const struct unwinder *backend, void (*own_block)(void *block), uint32_t depth_limit,
                    uint64_t *tallies);
extern __thread struct context *context_own __attribute__((visibility("hidden")));
/* The calling thread's context if it was made already, or NULL. */
static inline struct context *context_of_this_thread(void)
{
    return context_own;
}
/* The same, made or reused; NULL when memory is out. */
struct context *context_obtain(void);
static inline struct context *context_get(void)
{
    return __builtin_expect(context_own != NULL, 1) ? context_own : context_obtain();
}
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
/* Nobody counts meanwhile. */
void contexts_forget_tallies(void);

/* The caller's registers as they are after the call returns (ip: the return address), and fn(arg) on the
 * stack that ends at `top`. Only callee-saved registers, rsp and ip are stored; the rest of *ret is left
 * alone. */
void context_run_on_stack(void (*fn)(void *), void *arg, char *top, uint64_t *ret_ip,
                          uint64_t ret_registers[UNWIND_REGISTERS]);

#endif
