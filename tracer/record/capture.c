/* SPDX-License-Identifier: MIT */
#include "tracer/record/capture.h"

#include <errno.h>

#include "tracer/record/capture_walk.h"
#include "tracer/record/trace.h"

/* Of a stack that is cut, so many frames more than are shown are walked and kept: that many returns and calls later they
 * are still enough. */
#define FRAMES_AT_ONCE 64u
_Static_assert(FRAMES_AT_ONCE < FRAMES_MORE, "there is room for some calls, too");

struct code_object capture_self;

void capture_start(const struct code_object *library)
{
    capture_self = *library;
}

/* --- what is as it was --------------------------------------------------------------------------------------- */

static INLINE bool is_same_frame(const struct last_frame *last, const struct walk *walk)
{
    return last->rsp == walk->rsp && last->ip == walk->ip && last->exact == (walk->state & FRAME_EXACT) &&
           (!last->needs_rbp || last->rbp == walk->rbp);
}

/* Frames outward until one is met whose rest is known, or the stack ends. */
static INLINE void walk_to_known(struct walk *walk)
{
    struct context *context = walk->context;
    const struct last_frame *none = context->last - 1, *met = none + context->last_count;
    struct fresh_frame *frame = context->fresh;
    uint32_t limit = LIMIT;
    const struct fresh_frame *enough = frame + limit + FRAMES_AT_ONCE;
    const struct unwind_word *passed = context->words + context->words_max;

    while (walk->end == WALK_GOES_ON) {
        if (__builtin_expect(walk->ip == 0, 0)) {
            walk->end = WALK_LAST;
            break;
        }
        while (met->rsp < walk->rsp)
            met--;
        if (met != none && met->words_out <= passed && is_same_frame(met, walk)) {
            uint32_t base = (uint32_t)(met - none), fresh = (uint32_t)(frame - context->fresh);
            /* One more than is shown: it tells that there are more. */
            if (fresh <= limit && context->last_is_cut && fresh + base <= limit) {
                met = none;
            } else if (capture_is_unchanged(context, base, limit > fresh ? limit - fresh : 0, &passed)) {
                walk->base = base;
                walk->end = WALK_MET;
                break;
            }
        }
        if (frame == enough) {
            walk->end = WALK_CUT;
            break;
        }
        step_from(frame++, walk);
    }
    walk->fresh = (uint32_t)(frame - context->fresh);
}

/* --- keeping ------------------------------------------------------------------------------------------------- */

/* The words that led to where the walk came to, outward of all its new frames. */
static INLINE const struct unwind_word *put_words_there(const struct walk *walk, const struct unwind_word *at,
                                                        bool needs_rbp)
{
    struct context *context = walk->context;
    struct fresh_frame there;

    capture_came_to(&there, walk);
    return capture_put_words(context->words + (at - context->words), context, &there,
                             FRAME_WORDS(context->fresh[walk->fresh - 1].state), needs_rbp);
}

/* Where the stack ended, and the words that said so: a return address of 0 may be another the next time. */
static INLINE enum site_end note_end(const struct walk *walk)
{
    struct context *context = walk->context;

    context->end_words = context->words + 1;
    context->last_is_cut = walk->end == WALK_CUT;
    if (context->last_is_cut)
        return SITE_END_CUT;
    context->end_words = put_words_there(walk, context->end_words, false);
    return walk->end == WALK_LAST ? SITE_END_COMPLETE : SITE_END_NO_INFO;
}

/* There is room for the words of so many frames, two each, and of those that were read one by one. */
static INLINE bool has_room(const struct walk *walk, const struct unwind_word *from)
{
    const struct context *context = walk->context;

    return from + 2 * (walk->fresh + 1) + FRAME_WORDS(walk->state) <= context->words + context->words_max;
}

/* The walk's new frames become the last stack's. */
static INLINE void keep(const struct walk *walk)
{
    struct context *context = walk->context;
    uint32_t count = walk->end == WALK_MET ? walk->base : 0;
    struct last_frame *last = context->last + count;
    const struct fresh_frame *frame = context->fresh + walk->fresh;
    uint64_t path;
    bool needs;

    if (__builtin_expect(
            !has_room(walk, count > 0 ? capture_words_to(context, count - 1) : context->words + 1), 0))
        return;
    if (count > 0) {
        /* The base, which is a frame that was there, was reached in a new way. */
        last[-1].words_end = put_words_there(walk, capture_words_to(context, count - 1), last[-1].needs_rbp);
        path = last[-1].path;
        needs = last[-1].needs_rbp;
    } else {
        context->end = note_end(walk);
        path = sites_path_of_end(context->end);
        needs = false;
    }
    struct unwind_word *word = context->words + (capture_words_to(context, count) - context->words);
    do {
        frame--;
        uint64_t state = frame->state;
        needs = (state & FRAME_FROM_RBP) != 0 || (needs && (state & FRAME_KEEPS_RBP) != 0);
        path = sites_path(path, frame->ip + (state & FRAME_EXACT));
        last->ip = frame->ip;
        last->rsp = frame->rsp;
        last->rbp = frame->rbp;
        last->path = path;
        last->site = 0;
        last->words_out = word;
        word = capture_put_words(word, context, frame,
                                 frame != context->fresh ? FRAME_WORDS(frame[-1].state) : 0, needs);
        last->words_end = word;
        last->exact = state & FRAME_EXACT;
        last->needs_rbp = needs;
        last++;
    } while (frame != context->fresh);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    context->last_count = (uint32_t)(last - context->last);
}

/* The site of the last stack. */
static inline uint32_t last_site(struct context *context)
{
    struct last_frame *frame = &context->last[context->last_count - 1];

    if (__builtin_expect(context->last_count > LIMIT, 0))
        return capture_cut_site(context);
    if (frame->site == 0) {
        frame->site = sites_known(frame->path);
        if (__builtin_expect(frame->site == 0, 0))
            return capture_make_site(context, context->last_count, context->end);
    }
    return frame->site;
}

/* From another call of the same place, if there is one. true: calls of this place have another hash now. */
static INLINE bool is_told_apart(struct context *context, const struct record_caller *from, uint32_t hash,
                                 const struct known_call *call)
{
    const struct known_bucket *bucket = record_bucket(&context->call_index, hash);

    for (unsigned i = 0; i < KNOWN_SLOTS; i++) {
        const struct known_call *other = &context->calls[bucket->slot[i] >> 16];

        if ((uint16_t)bucket->slot[i] == (uint16_t)hash && other->ip == from->ip && other->rsp == from->rsp)
            return capture_tell_apart(context, from, call->words, other->words);
    }
    return false;
}

/* The last stack's inner end, from last[base - 1] inward, as a call that was captured. */
static INLINE struct known_call *keep_call(struct context *context, const struct record_caller *from,
                                           uint32_t base, uint32_t *ret_hash)
{
    const struct last_frame *inner = &context->last[context->last_count - 1],
                            *last = &context->last[base - 1];
    size_t count = (size_t)(inner->words_out - last->words_out);
    if (count > CALL_WORDS || inner->exact)
        return NULL;
    struct known_call *call = &context->calls[capture_next_to_keep(&context->call_index)];
    call->ip = from->ip;
    call->rsp = from->rsp;
    call->rbp = from->rbp;
    call->outer = last->words_out - 1;
    call->base = (uint16_t)base;
    call->base_path = last->path;
    call->base_rsp = last->rsp;
    call->base_rbp = last->rbp;
    call->count = (uint8_t)count;
    call->flags =
        (uint8_t)((inner->needs_rbp ? CALL_NEEDS_RBP : 0) | (record_is_from_new(from->ip) ? LEDGER_NEW : 0));
    for (size_t i = 0; i < count; i++)
        call->words[i] = inner->words_out[-1 - (ptrdiff_t)i];
    for (size_t i = count; i < CALL_WORDS_LEAST; i++)
        call->words[i] = capture_always(context);
    *ret_hash = record_hash(context, from);
    return is_told_apart(context, from, *ret_hash, call) ? NULL : call;
}

/* What was kept leads to this site. */
static INLINE void settle_call(struct context *context, struct known_call *call, uint32_t site, uint32_t hash)
{
    struct site_tally *tally = record_hot.selective ? NULL : tally_of(&context->tally, site);

    call->site = site;
    call->tally = tally ? tally : tally_place(&context->tally, site);
    call->version = context->version;
    capture_kept(&context->call_index, (uint32_t)(call - context->calls), hash);
}

/* There is no more room inward of what is known: then all of it is walked anew, of which no more is kept than is needed. */
static INLINE bool leaves_no_room(const struct walk *walk)
{
    struct context *context = walk->context;

    if (walk->base + walk->fresh <= context->frames_max || context->last_count == 0)
        return false;
    context->last_count = 0;
    return true;
}

static INLINE uint32_t capture_once(struct context *context, const struct record_caller *from)
{
    struct walk walk;
    bool from_library;

    context->version++;
    do {
        begin(&walk, context, from);
        from_library = walk.rsp != from->rsp;
        walk_to_known(&walk);
    } while (__builtin_expect(leaves_no_room(&walk), 0));

    /* What lies inside of the base is gone: it would only be passed by. Its own words are of a frame that is. */
    context->last_count = walk.end == WALK_MET && walk.fresh == 0 ? walk.base : 0;
    if (walk.fresh > 0) {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (walk.end != WALK_FAILED && walk.base + walk.fresh <= context->frames_max)
            keep(&walk);
    }
    if (__builtin_expect(context->last_count == 0, 0))
        return 0;
    sites_prefetch(context->last[context->last_count - 1].path);
    struct known_call *call = NULL;
    uint32_t hash = 0;
    if (walk.end == WALK_MET && context->last_count <= LIMIT && !from_library)
        call = keep_call(context, from, walk.base, &hash);
    uint32_t site = last_site(context);
    if (call && site != SITE_END_NO_STACK)
        settle_call(context, call, site, hash);
    return site;
}

static INLINE uint32_t capture_now(struct context *context, const struct record_caller *from)
{
    uint32_t site;

    (void)refresh(context);
    context->passed = 0;
    do
        site = capture_once(context, from);
    while (refresh(context));
    return site;
}

__attribute__((noinline)) uint32_t capture_quickly(struct context *context, const struct record_caller *from)
{
    return capture_now(context, from);
}

/* --- record.h ------------------------------------------------------------------------------------------------- */

/* Tests: is it what a whole walk by libunwind alone finds? */
static COLD void check_site(struct context *context, uint32_t site)
{
    if (context->captures++ % record_hot.root->check_stacks != 0)
        return;
    __atomic_add_fetch(&record_hot.root->stack_checks, 1, __ATOMIC_RELAXED);
    if (capture_in_full(context, LIMIT, false) != site)
        __atomic_add_fetch(&record_hot.root->stack_mismatches, 1, __ATOMIC_RELAXED);
}

static COLD uint32_t capture_slowly(struct context *context, uint32_t site)
{
    int saved = errno;

    if (site == 0)
        site = capture_in_full(context, LIMIT, true);
    else
        check_site(context, site);
    errno = saved;
    return site;
}

/* From a place that is not known, or below other callers. */
uint32_t record_capture_anew(const struct record_caller *from)
{
    struct context *context = context_get();

    (void)record_tick();
    if (__builtin_expect(!context, 0))
        return SITE_END_NO_STACK;
    if (__builtin_expect(trace_is_due(), 0))
        record_begin_own_trace();
    uint32_t site = capture_now(context, from);
    if (__builtin_expect(site == 0 || record_hot.check_stacks, 0))
        return capture_slowly(context, site);
    return site;
}

uint32_t record_capture(const struct record_caller *from)
{
    struct context *context = context_of_this_thread();
    bool is_fresh = context && context->epoch == modules_epoch();
    struct known_call *call = is_fresh ? record_known(context, from) : NULL;
    uint32_t passing = is_fresh && !call ? record_pass_call(context, from->ip, from->rsp, from->rbp) : 0;

    if (!call && passing == 0)
        return record_capture_anew(from);
    (void)record_tick();
    if (passing != 0)
        return __builtin_expect(record_hot.check_stacks, 0) ? capture_slowly(context, passing) : passing;
    if (!record_has_tally(call) && !record_hot.selective) {
        struct site_tally *tally = tally_of(&context->tally, call->site);

        call->tally = tally ? tally : call->tally;
    }
    return __builtin_expect(record_hot.check_stacks, 0) ? capture_slowly(context, call->site) : call->site;
}
