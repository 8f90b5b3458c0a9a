/* SPDX-License-Identifier: MIT */
/*
 * capture_walk.h - a walk from frame to frame, and what the files of capture.h share. What every capture does is inline;
 * capture_walk.c has what few do.
 *
 *   begin() --> where the caller is --> step() --> the next frame outward --> ...
 *                                         |  \- its rule is known: here, two loads
 *                                         '- else: step_anyhow(), by the unwinder, on the context's stack
 */
#ifndef HEAPTALLY_CAPTURE_WALK_H
#define HEAPTALLY_CAPTURE_WALK_H

#include "tracer/record/capture.h"
#include "tracer/record/hot.h"
#include "tracer/record/rules.h"
#include "tracer/record/sites.h"

#define COLD   __attribute__((noinline, cold))
#define INLINE inline __attribute__((always_inline))

#define LIMIT record_hot.depth_limit /* frames kept a stack */

/* Constant after capture_start(). */
extern struct code_object capture_self __attribute__((visibility("hidden")));

static inline bool is_ours(uint64_t ip)
{
    return ip >= capture_self.start && ip < capture_self.end;
}

/* The context is emptied of what is of another epoch, `now` being this one. */
bool capture_refresh_now(struct context *context, uint32_t now);

/* Frames are told without asking whose code they are. What is unloaded unseen (libc's own plugins) shows when other code
 * at that place is walked for the first time: the epoch is then another, and this walk is made again. */
static inline bool refresh(struct context *context)
{
    uint32_t now = modules_epoch();

    return __builtin_expect(context->epoch != now, 0) && capture_refresh_now(context, now);
}

/* Of the stack whose sites are being told, its outermost frame first: where the last frame was that a module was looked for,
 * as most are in the same, zero is nowhere; and whether one of the sites was not known: then those inward of it are not, or
 * only just now, by another thread, which sites_find() sees. */
struct capture_home {
    uint64_t start, end;
    uint32_t module;
    bool is_new;
};
uint32_t capture_module_of(struct context *context, struct capture_home *home, uint64_t ip);

/* A word that is the same at any time. */
static INLINE struct unwind_word capture_always(const struct context *context)
{
    return (struct unwind_word){(uintptr_t)&context->never, 0};
}

/* Where the next call, or free, is to be kept: that place is no one's from now on, until it is found by the hash. */
static INLINE uint32_t capture_next_to_keep(struct known_index *index)
{
    uint32_t next = index->next;

    if (index->is_full) {
        struct known_bucket *bucket = &index->bucket[index->bucket_of[next]];

        for (unsigned i = 0; i < KNOWN_SLOTS; i++)
            if (bucket->slot[i] >> 16 == next)
                bucket->slot[i] = 0;
    }
    index->is_full |= next == KNOWN_COUNT - 1;
    index->next = next == KNOWN_COUNT - 1 ? 1 : next + 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return next;
}

/* What was put there is found from now on, and what was not met for longest no more. */
static INLINE void capture_kept(struct known_index *index, uint32_t at, uint32_t hash)
{
    struct known_bucket *bucket = record_bucket(index, hash);

    index->bucket_of[at] = (uint16_t)(hash >> (32 - KNOWN_BUCKETS_LOG));
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    for (unsigned i = KNOWN_SLOTS - 1; i > 0; i--)
        bucket->slot[i] = bucket->slot[i - 1];
    bucket->slot[0] = at << 16 | (uint16_t)hash;
}

/* Two calls, or frees, of one hash and place have these words; the first is of the capture going on. Where it is the nearest
 * return address by which they differ, that becomes a part of it, so that neither is looked at for the other; what was kept of
 * the place is then not found any more. false: it is no part. */
bool capture_tell_apart(struct context *context, const struct record_caller *from,
                        const struct unwind_word *a, const struct unwind_word *b);

/* --- what is as it was -------------------------------------------------------------------------------- */

/* Up to which of the words, words[0] among them, they led to frame `at - 1` of the last stack and all outer ones; to none: that
 * it ended. */
static inline const struct unwind_word *capture_words_to(const struct context *context, uint32_t at)
{
    return at > 0 ? context->last[at - 1].words_end : context->end_words;
}

/* From the frame last[base - 1] outward: the words that led to the next `most` frames, or all, are as they were. Otherwise
 * false, and **ret_passed is not: what may still be met are frames outside of that, and the one that the word led to,
 * for its place may be reached by other words. */
static INLINE bool capture_is_unchanged(const struct context *context, uint32_t base, uint32_t most,
                                        const struct unwind_word **ret_passed)
{
    const struct unwind_word *word = capture_words_to(context, base - 1) - 1, *end = context->words;

    if (__builtin_expect(base > most + 1, 0)) {
        end = context->last[base - most - 2].words_end - 1;
        while (word != end && stack_word_at(word->at) == word->value)
            word--;
    } else {
        while (stack_word_at(word->at) == word->value)
            word--;
    }
    if (__builtin_expect(word == end, 1))
        return true;
    *ret_passed = word;
    return false;
}

/* --- sites: capture_sites.c ------------------------------------------------------------------------------------ */

/* A return address, or what is told like one. */
static inline uint64_t shown_ip(const struct last_frame *frame)
{
    return frame->ip + frame->exact;
}

/* Of a frame that may have been seen before; path and parent are its stack's. */
uint32_t capture_site_of(struct context *context, struct capture_home *home, uint64_t path, uint64_t ip,
                         uint32_t parent);
/* Of the `count` outermost frames of the last stack as it is kept, which were not seen before. */
uint32_t capture_make_site(struct context *context, uint32_t count, enum site_end end);
/* The same of frames inward of one with this site and path, ips[0] the innermost. */
uint32_t capture_make_inner_site(struct context *context, uint32_t site, uint64_t path, const uint64_t *ips,
                                 uint32_t count);
/* Of its innermost frames alone, as many as a stack may have. */
uint32_t capture_cut_site(struct context *context);

/* --- walking --------------------------------------------------------------------------------------------------- */

/* Flat, and only ever handed on as a copy, made field by field: so all of it can stay in registers. */
struct walk {
    struct context *context;
    uint64_t ip, rsp, rbp; /* where it is; ip is 0 past the outermost frame */
    uint64_t rbp_at;       /* as in a fresh_frame */
    uint64_t state;        /* FRAME_EXACT, FRAME_PLAIN, words of context->fresh_words in use */
    uint64_t left;  /* FRAME_FROM_RBP, FRAME_KEEPS_RBP: of the last step, so of the frame that it left */
    uint32_t base;  /* outermost frames of `last` that are this stack's, too */
    uint32_t fresh; /* inner frames that are new, context->fresh[0] the innermost */
    enum walk_end {
        WALK_GOES_ON,
        WALK_MET,     /* the base */
        WALK_LAST,    /* the outermost frame */
        WALK_NO_INFO, /* nothing tells where its caller is */
        WALK_CUT,     /* deeper than anybody asks */
        WALK_FAILED,  /* it cannot be made so */
    } end;
};

/* Of the table, in a form that is ready for use, or nothing: then it is not plain, or far out. */
bool capture_learn_rule(struct context *context, struct known_rule *known, uint64_t pc);

/* From a plain frame whose rule is known, on a stack that is known, to its caller's; where that step read rbp, 0: it did not,
 * and how it depends on rbp (FRAME_FROM_RBP, FRAME_KEEPS_RBP). `is_there`: of *rsp it is known already that it can be read.
 * false: nothing was done. */
static INLINE bool capture_step_plain(struct context *context, uint64_t pc, bool is_there, uint64_t *ip,
                                      uint64_t *rsp, uint64_t *rbp, uint64_t *ret_rbp_at, uint64_t *ret_left)
{
    struct known_rule *rule = &context->rules[pc * 0x9e3779b97f4a7c15u >> (64 - KNOWN_RULES_LOG)];

    if (__builtin_expect(rule->pc != pc, 0) && !capture_learn_rule(context, rule, pc))
        return false;
    uint64_t cfa = ((rule->state & FRAME_FROM_RBP) != 0 ? *rbp : *rsp) + (uint64_t)(int64_t)rule->cfa_offset;
    bool reads = is_there ? cfa <= context->high : record_is_readable(context, cfa - 8);
    if (__builtin_expect(cfa <= *rsp || !reads, 0))
        return false;
    uint64_t rbp_at = 0;
    if (rule->rbp_words != 0) {
        rbp_at = cfa + (uint64_t)((int64_t)rule->rbp_words * 8);
        if (__builtin_expect(!record_is_readable(context, rbp_at), 0))
            return false;
        *rbp = stack_word_at(rbp_at);
    }
    *ip = stack_word_at(cfa - 8);
    *rsp = cfa;
    *ret_rbp_at = rbp_at;
    *ret_left = rule->state;
    return true;
}

static INLINE bool step_here(struct walk *walk)
{
    uint64_t pc = walk->ip - 1 + (walk->state & FRAME_EXACT);

    if (!capture_step_plain(walk->context, pc, false, &walk->ip, &walk->rsp, &walk->rbp, &walk->rbp_at,
                            &walk->left))
        return false;
    walk->state = (walk->state & ~(uint64_t)FRAME_EXACT) | FRAME_PLAIN;
    return true;
}

/* A frame that cannot be stepped here, yet: by now its rule and its part of the stack may be known. It fails, too, when the
 * words would leave too little room for those of as many plain frames as may follow. */
void capture_step_anyhow(struct walk *walk);
/* Out of the library, whose frames nobody wants to see. They are gone the next time, and not kept. */
void capture_leave_library(struct walk *walk);

static INLINE void copy(struct walk *to, const struct walk *from)
{
    to->context = from->context;
    to->ip = from->ip;
    to->rsp = from->rsp;
    to->rbp = from->rbp;
    to->rbp_at = from->rbp_at;
    to->state = from->state;
    to->left = from->left;
    to->base = from->base;
    to->fresh = from->fresh;
    to->end = from->end;
}

/* Where the walk came to, as a frame. */
static INLINE void capture_came_to(struct fresh_frame *frame, const struct walk *walk)
{
    frame->ip = walk->ip;
    frame->rsp = walk->rsp;
    frame->rbp = walk->rbp;
    frame->rbp_at = walk->rbp_at;
    frame->state = walk->state;
}

/* The next frame of the capture going on is where the walk is, and the walk goes on from there. */
static INLINE void step_from(struct fresh_frame *frame, struct walk *walk)
{
    struct walk apart;
    uint64_t state = walk->state;

    capture_came_to(frame, walk);
    if (__builtin_expect(!step_here(walk), 0)) {
        copy(&apart, walk);
        apart.fresh = (uint32_t)(frame - walk->context->fresh) + 1;
        capture_step_anyhow(&apart);
        copy(walk, &apart);
    }
    frame->state = state | walk->left;
}

/* The words that led to a frame: of a plain way the return address below it and, if it is needed, rbp; else
 * fresh_words[from..to). Returns their end. There is room. */
static INLINE struct unwind_word *capture_put_words(struct unwind_word *word, const struct context *context,
                                                    const struct fresh_frame *frame, uint32_t from,
                                                    bool needs_rbp)
{
    if (__builtin_expect((frame->state & FRAME_PLAIN) == 0, 0)) {
        while (from < FRAME_WORDS(frame->state))
            *word++ = context->fresh_words[from++];
        return word;
    }
    word->at = frame->rsp - 8;
    word->value = frame->ip;
    word++;
    if (frame->rbp_at != 0 && needs_rbp) {
        word->at = frame->rbp_at;
        word->value = frame->rbp;
        word++;
    }
    return word;
}

static INLINE void begin(struct walk *walk, struct context *context, const struct record_caller *from)
{
    struct walk apart;

    walk->context = context;
    walk->ip = from->ip;
    walk->rsp = from->rsp;
    walk->rbp = from->rbp;
    walk->rbp_at = walk->state = walk->left = 0;
    walk->base = walk->fresh = 0;
    walk->end = WALK_GOES_ON;
    if (__builtin_expect(!is_ours(from->ip), 1))
        return;
    copy(&apart, walk);
    capture_leave_library(&apart);
    copy(walk, &apart);
}

#endif
