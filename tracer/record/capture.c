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
    return last->rsp == walk->rsp && last->ip == walk->ip && last->exact == walk->exact &&
           (!last->needs_rbp || last->rbp == walk->rbp);
}

/* How many words, words[0] among them, led to frame `at - 1` of the last stack and all outer ones; to none: that it ended. */
static inline uint32_t words_to(const struct context *context, uint32_t at)
{
    return at > 0 ? context->last[at - 1].words_end : context->end_words;
}

/* From the frame last[base - 1] outward: the words that led to the next `most` frames, or all, are as they were. Otherwise
 * false, and *ret_rest is how many outermost frames may still be met: the one that the word led to, too, for its place may
 * be reached by other words. */
static INLINE bool is_unchanged(const struct context *context, uint32_t base, uint32_t most,
                                uint32_t *ret_rest)
{
    const struct unwind_word *word = context->words + words_to(context, base - 1) - 1, *end = context->words;

    if (__builtin_expect(base > most + 1, 0)) {
        end += context->last[base - most - 2].words_end - 1;
        while (word != end && stack_word_at(word->at) == word->value)
            word--;
    } else {
        while (stack_word_at(word->at) == word->value)
            word--;
    }
    if (__builtin_expect(word == end, 1))
        return true;
    while (base > 1 && context->words + context->last[base - 2].words_end > word)
        base--;
    *ret_rest = base;
    return false;
}

/* Frames outward until one is met whose rest is known, or the stack ends. */
static INLINE void walk_to_known(struct walk *walk)
{
    struct context *context = walk->context;
    uint32_t rest = context->last_count, limit = LIMIT;
    bool plain_way = true;

    while (walk->end == WALK_GOES_ON) {
        while (rest > 0 && context->last[rest - 1].rsp < walk->rsp)
            rest--;
        if (rest > 0 && is_same_frame(&context->last[rest - 1], walk)) {
            walk->base = rest;
            /* One more than is shown: it tells that there are more. */
            if (walk->fresh <= limit && context->last_is_cut && walk->fresh + rest <= limit) {
                rest = 0;
            } else if (is_unchanged(context, rest, limit > walk->fresh ? limit - walk->fresh : 0, &rest)) {
                walk->end = WALK_MET;
                break;
            }
        }
        if (walk->fresh == limit + FRAMES_AT_ONCE) {
            walk->end = WALK_CUT;
            break;
        }
        struct fresh_frame *frame = &context->fresh[walk->fresh++];
        frame->ip = walk->ip;
        frame->rsp = walk->rsp;
        frame->rbp = walk->rbp;
        frame->words_end = walk->words;
        frame->exact = walk->exact;
        frame->plain_way = plain_way;
        step(walk);
        plain_way = walk->plain;
        frame->from_rbp = walk->from_rbp;
        frame->keeps_rbp = walk->keeps_rbp;
    }
}

/* --- keeping ------------------------------------------------------------------------------------------------- */

/* Where the stack ended, and the words that said so: a return address of 0 may be another the next time. */
static INLINE enum site_end note_end(const struct walk *walk)
{
    struct context *context = walk->context;

    context->end_words = 1;
    context->last_is_cut = walk->end == WALK_CUT;
    if (context->last_is_cut)
        return SITE_END_CUT;
    for (uint32_t i = context->fresh[walk->fresh - 1].words_end; i < walk->words; i++)
        context->words[context->end_words++] = context->fresh_words[i];
    return walk->end == WALK_LAST ? SITE_END_COMPLETE : SITE_END_NO_INFO;
}

/* The words from..to led to a frame, and move to those of the last walk; what only told rbp, where it is needed. */
static inline uint32_t keep_words(struct context *context, uint32_t from, uint32_t to, uint32_t end,
                                  bool but_rbp)
{
    if (but_rbp && to - from == 2)
        to--;
    while (from < to && end < context->words_max)
        context->words[end++] = context->fresh_words[from++];
    return end;
}

/* The base, which is a frame that was there, was reached in a new way. Returns the words in use. */
static INLINE uint32_t keep_base(const struct walk *walk, bool plain_way)
{
    struct context *context = walk->context;
    struct last_frame *base = &context->last[walk->base - 1];
    uint32_t from = context->fresh[walk->fresh - 1].words_end;

    base->words_end = keep_words(context, from, walk->words, words_to(context, walk->base - 1),
                                 plain_way && !base->needs_rbp);
    return base->words_end;
}

/* The walk's new frames become the last stack's. */
static INLINE void keep(const struct walk *walk)
{
    struct context *context = walk->context;
    uint32_t count = walk->end == WALK_MET ? walk->base : 0, words;
    uint64_t path;
    bool needs;

    if (count > 0) {
        words = keep_base(walk, walk->plain);
        path = context->last[count - 1].path;
        needs = context->last[count - 1].needs_rbp;
    } else {
        context->end = note_end(walk);
        words = context->end_words;
        path = sites_path_of_end(context->end);
        needs = false;
    }
    for (uint32_t i = walk->fresh; i-- > 0; count++) {
        const struct fresh_frame *frame = &context->fresh[i];
        struct last_frame *last = &context->last[count];

        needs = frame->from_rbp || (needs && frame->keeps_rbp);
        path = sites_path(path, frame->ip + frame->exact);
        last->ip = frame->ip;
        last->rsp = frame->rsp;
        last->rbp = frame->rbp;
        last->path = path;
        last->site = 0;
        last->words_out = words;
        words = keep_words(context, i > 0 ? context->fresh[i - 1].words_end : 0, frame->words_end, words,
                           frame->plain_way && !needs);
        last->words_end = words;
        last->exact = frame->exact;
        last->needs_rbp = needs;
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    context->last_count = words < context->words_max ? count : 0;
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
            return capture_make_site(context, context->end);
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
    uint32_t count = inner->words_out - last->words_out;
    if (count > CALL_WORDS || inner->exact)
        return NULL;
    struct known_call *call = &context->calls[capture_next_to_keep(&context->call_index)];
    call->ip = from->ip;
    call->rsp = from->rsp;
    call->rbp = from->rbp;
    call->outer = context->words + last->words_out - 1;
    call->base = (uint16_t)base;
    call->base_path = last->path;
    call->base_rsp = last->rsp;
    call->base_rbp = last->rbp;
    call->count = (uint8_t)count;
    call->flags =
        (uint8_t)((inner->needs_rbp ? CALL_NEEDS_RBP : 0) | (record_is_from_new(from->ip) ? LEDGER_NEW : 0));
    for (uint32_t i = 0; i < count; i++)
        call->words[i] = context->words[inner->words_out - 1 - i];
    for (uint32_t i = count; i < CALL_WORDS_LEAST; i++)
        call->words[i] = capture_always(context);
    *ret_hash = record_hash(context, from);
    return is_told_apart(context, from, *ret_hash, call) ? NULL : call;
}

/* What was kept leads to this site. */
static INLINE void settle_call(struct context *context, struct known_call *call, uint32_t site, uint32_t hash)
{
    call->site = site;
    call->tally = tally_place(&context->tally, site);
    __builtin_prefetch(call->tally, 1);
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

    if (!call)
        return record_capture_anew(from);
    (void)record_tick();
    if (!record_has_tally(call) && !record_hot.selective) {
        struct site_tally *tally = tally_of(&context->tally, call->site);

        call->tally = tally ? tally : call->tally;
    }
    return __builtin_expect(record_hot.check_stacks, 0) ? capture_slowly(context, call->site) : call->site;
}
