/* SPDX-License-Identifier: MIT */
#include "tracer/record/capture.h"

#include <errno.h>
#include <string.h>

#include "tracer/record/hot.h"
#include "tracer/record/rules.h"
#include "tracer/record/sites.h"

#define COLD   __attribute__((noinline, cold))
#define INLINE inline __attribute__((always_inline))

/* Of a stack that is cut, so many frames more than are shown are walked and kept: that many returns and calls later they
 * are still enough. */
#define FRAMES_AT_ONCE 64u
_Static_assert(FRAMES_AT_ONCE < FRAMES_MORE, "there is room for some calls, too");

/* A rough capture looks at what led to so many frames of the last stack. */
#define ROUGH_KNOWN 7u

static struct code_object self;      /* constant after capture_start */
#define LIMIT record_hot.depth_limit /* frames kept a stack */

void capture_start(const struct code_object *library)
{
    self = *library;
}

static bool is_ours(uint64_t ip)
{
    return ip >= self.start && ip < self.end;
}

/* --- the module list's epoch ----------------------------------------------------------------------------- */

/* Frames are told without asking whose code they are. What is unloaded unseen (libc's own plugins) shows when other code
 * at that place is walked for the first time: the epoch is then another, and this walk is made again. */
static COLD bool refresh_now(struct context *context, uint32_t now)
{
    context->last_count = 0;
    context->low = context->high = 0;
    memset(context->calls, 0, sizeof(context->calls));
    context->unwinder->forget(context->state, now);
    context->epoch = now;
    return true;
}

static inline bool refresh(struct context *context)
{
    uint32_t now = modules_epoch();

    return __builtin_expect(context->epoch != now, 0) && refresh_now(context, now);
}

/* --- sites ------------------------------------------------------------------------------------------------ */

static uint32_t module_of(struct context *context, uint64_t ip)
{
    struct code_object object;

    return code_find(ip - 1, &object) ? modules_find(&context->modules, &object) : MODULE_NONE;
}

/* A return address, or what is told like one. */
static inline uint64_t shown_ip(const struct last_frame *frame)
{
    return frame->ip + frame->exact;
}

/* Of a frame seen for the first time in a stack that was, or not. */
static uint32_t site_of(struct context *context, uint64_t path, uint64_t ip, uint32_t parent)
{
    uint32_t site = sites_known(path);

    return site ? site : sites_find(path, ip, parent, module_of(context, ip));
}

/* Of the last stack as it is kept, all of it. */
static COLD uint32_t make_site(struct context *context, enum site_end end)
{
    uint32_t site = end;

    for (uint32_t i = 0; i < context->last_count && site != SITE_END_NO_STACK; i++) {
        struct last_frame *frame = &context->last[i];

        if (frame->site == 0)
            frame->site = site_of(context, frame->path, shown_ip(frame), site);
        site = frame->site;
    }
    return site;
}

/* Of its innermost frames alone, as many as a stack may have. */
static uint32_t site_of_cut(struct context *context)
{
    const struct last_frame *frame = &context->last[context->last_count - LIMIT];
    uint64_t path = sites_path_of_end(SITE_END_CUT);
    uint32_t site = SITE_END_CUT;

    for (uint32_t i = 0; i < LIMIT; i++)
        path = sites_path(path, shown_ip(&frame[i]));
    uint32_t known = sites_known(path);
    if (__builtin_expect(known != 0, 1))
        return known;
    path = sites_path_of_end(SITE_END_CUT);
    for (uint32_t i = 0; i < LIMIT && site != SITE_END_NO_STACK; i++) {
        path = sites_path(path, shown_ip(&frame[i]));
        site = site_of(context, path, shown_ip(&frame[i]), site);
    }
    return site;
}

/* --- walking ------------------------------------------------------------------------------------------------- */

/* Flat, and only ever handed on as a copy, made field by field: so all of it can stay in registers. */
struct walk {
    struct context *context;
    uint64_t ip, rsp, rbp; /* where it is */
    bool exact;
    bool plain;     /* the last step was made here, by a plain rule */
    bool from_rbp;  /* it began with rbp */
    bool keeps_rbp; /* it left rbp as it was */
    uint32_t base;  /* outermost frames of `last` that are this stack's, too */
    uint32_t fresh; /* inner frames that are new, context->fresh[0] the innermost */
    uint32_t words; /* context->fresh_words in use */
    enum walk_end {
        WALK_GOES_ON,
        WALK_MET,     /* the base */
        WALK_LAST,    /* the outermost frame */
        WALK_NO_INFO, /* nothing tells where its caller is */
        WALK_CUT,     /* deeper than anybody asks */
        WALK_FAILED,  /* it cannot be made so */
    } end;
};

struct step_call {
    struct context *context;
    struct unwind_place *at;
    enum unwind_step result;
    struct unwind_reads reads;
};

static void run_step(void *arg)
{
    struct step_call *call = arg;

    call->result = call->context->unwinder->step(call->context->state, call->at, &call->reads);
}

static void step_apart(struct step_call *call)
{
    struct context *context = call->context;
    uint64_t ip, registers[UNWIND_REGISTERS];

    context_walk_begin(context);
    context_run_on_stack(run_step, call, context->stack_top, &ip, registers);
    context_walk_end(context);
    context->unwinder->readable(context->state, &context->low, &context->high);
}

static inline uint64_t word_at(uint64_t address)
{
    return *(const stack_word *)(uintptr_t)address;
}

static inline bool is_readable(const struct context *context, uint64_t address)
{
    return address >= context->low && address + 8 <= context->high;
}

/* One word more led to where the walk is now. There is room for two of each frame. */
static inline void push_word(struct walk *walk, uint64_t address, uint64_t value)
{
    struct unwind_word *word = &walk->context->fresh_words[walk->words++];

    word->at = address;
    word->value = value;
}

/* Of the table, in a form that is ready for use, or nothing: then it is not plain, or far out. */
static COLD bool learn_rule(struct known_rule *known, uint64_t pc, uint32_t epoch)
{
    struct rule rule = rules_get(pc, epoch);

    if (rule.kind != RULE_PLAIN || rule.rbp_offset % 8 != 0 || (rule.rbp_saved && rule.rbp_offset == 0) ||
        rule.rbp_offset / 8 > INT16_MAX || rule.rbp_offset / 8 < INT16_MIN)
        return false;
    *known =
        (struct known_rule){rules_key(pc, epoch), rule.cfa_offset,
                            rule.rbp_saved ? (int16_t)(rule.rbp_offset / 8) : (int16_t)0, rule.cfa_from_rbp};
    return true;
}

/* A plain frame whose rule is known, on a stack that is known; false: nothing was done. */
static INLINE bool step_here(struct walk *walk)
{
    struct context *context = walk->context;
    uint64_t pc = walk->ip - !walk->exact, key = rules_key(pc, context->epoch);
    struct known_rule *rule = &context->rules[key * 0x9e3779b97f4a7c15u >> (64 - KNOWN_RULES_LOG)];

    if (__builtin_expect(rule->key != key, 0) && !learn_rule(rule, pc, context->epoch))
        return false;
    uint64_t cfa = (rule->cfa_from_rbp ? walk->rbp : walk->rsp) + (uint64_t)(int64_t)rule->cfa_offset;
    uint64_t rbp_at = cfa + (uint64_t)((int64_t)rule->rbp_words * 8);
    if (__builtin_expect(cfa <= walk->rsp || !is_readable(context, cfa - 8) ||
                             (rule->rbp_words != 0 && !is_readable(context, rbp_at)),
                         0))
        return false;
    walk->from_rbp = rule->cfa_from_rbp;
    walk->keeps_rbp = rule->rbp_words == 0;
    walk->ip = word_at(cfa - 8);
    push_word(walk, cfa - 8, walk->ip);
    if (!walk->keeps_rbp) {
        walk->rbp = word_at(rbp_at);
        push_word(walk, rbp_at, walk->rbp);
    }
    walk->rsp = cfa;
    walk->exact = false;
    walk->plain = true;
    if (__builtin_expect(walk->ip == 0, 0))
        walk->end = WALK_LAST;
    return true;
}

/* The step was not made here. Where the rule says that nothing is outside, or no rule is, nothing but ip was looked at. */
static bool depends_on_rbp(enum rule_kind kind, enum unwind_step result)
{
    return kind != RULE_LAST && kind != RULE_NO_INFO && !(kind == RULE_UNKNOWN && result == UNWIND_NO_INFO);
}

static enum walk_end end_of(enum unwind_step step)
{
    return step == UNWIND_STEPPED   ? WALK_GOES_ON
           : step == UNWIND_LAST    ? WALK_LAST
           : step == UNWIND_NO_INFO ? WALK_NO_INFO
                                    : WALK_FAILED;
}

/* A frame that cannot be stepped here, yet: by now its rule and its part of the stack may be known. It fails, too, when the
 * words would leave too little room for those of as many plain frames as may follow. */
static COLD void step_anyhow(struct walk *walk)
{
    struct context *context = walk->context;
    struct unwind_place at = {walk->ip, walk->rsp, walk->rbp, walk->exact};
    struct step_call call = {.context = context, .at = &at};
    uint64_t pc = walk->ip - !walk->exact;

    if (rules_get(pc, context->epoch).kind == RULE_UNKNOWN)
        (void)module_of(context, walk->ip + walk->exact); /* whoever was at its place before is gone */
    step_apart(&call);
    if (step_here(walk))
        return;
    walk->ip = at.ip;
    walk->rsp = at.rsp;
    walk->rbp = at.rbp;
    walk->exact = at.exact;
    walk->end = end_of(call.result);
    walk->plain = walk->keeps_rbp = false;
    walk->from_rbp = depends_on_rbp(rules_get(pc, context->epoch).kind, call.result);
    const struct unwind_reads *reads = &call.reads;
    if (walk->words + UNWIND_READS + 2 * (context->frames_max - walk->fresh) > context->words_max)
        walk->end = WALK_FAILED;
    else if (reads->count > UNWIND_READS)
        push_word(walk, (uintptr_t)&context->never, 1);
    else
        for (uint32_t i = 0; i < reads->count; i++)
            push_word(walk, reads->word[i].at, reads->word[i].value);
}

static INLINE void copy(struct walk *to, const struct walk *from)
{
    to->context = from->context;
    to->ip = from->ip;
    to->rsp = from->rsp;
    to->rbp = from->rbp;
    to->exact = from->exact;
    to->plain = from->plain;
    to->from_rbp = from->from_rbp;
    to->keeps_rbp = from->keeps_rbp;
    to->base = from->base;
    to->fresh = from->fresh;
    to->words = from->words;
    to->end = from->end;
}

static INLINE void step(struct walk *walk)
{
    struct walk apart;

    if (__builtin_expect(step_here(walk), 1))
        return;
    copy(&apart, walk);
    step_anyhow(&apart);
    copy(walk, &apart);
}

/* Out of the library, whose frames nobody wants to see. They are gone the next time, and not kept. */
static COLD void leave_library(struct walk *walk)
{
    for (uint32_t i = 0; i < OWN_FRAMES && walk->end == WALK_GOES_ON; i++) {
        if (!is_ours(walk->ip))
            return;
        if (!step_here(walk))
            step_anyhow(walk);
        walk->words = 0;
    }
    walk->end = WALK_FAILED;
}

static INLINE void begin(struct walk *walk, struct context *context, const struct record_caller *from)
{
    struct walk apart;

    walk->context = context;
    walk->ip = from->ip;
    walk->rsp = from->rsp;
    walk->rbp = from->rbp;
    walk->plain = true;
    walk->exact = walk->from_rbp = walk->keeps_rbp = false;
    walk->base = walk->fresh = walk->words = 0;
    walk->end = WALK_GOES_ON;
    if (__builtin_expect(!is_ours(from->ip), 1))
        return;
    copy(&apart, walk);
    leave_library(&apart);
    copy(walk, &apart);
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
        while (word != end && word_at(word->at) == word->value)
            word--;
    } else {
        while (word_at(word->at) == word->value)
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
        return site_of_cut(context);
    if (frame->site == 0) {
        frame->site = sites_known(frame->path);
        if (__builtin_expect(frame->site == 0, 0))
            return make_site(context, context->end);
    }
    return frame->site;
}

/* The last stack's inner end, from last[base - 1] inward, as a call that was captured. */
static INLINE void keep_call(struct context *context, const struct record_caller *from, uint32_t base,
                             uint32_t site)
{
    const struct last_frame *last = &context->last[base - 1],
                            *inner = &context->last[context->last_count - 1];
    uint32_t first = words_to(context, base - 1), count = inner->words_end - first;
    struct known_call *call = record_calls(context, from) + context->calls_kept++ % CALL_WAYS;

    if (last == inner)
        count = 0;
    if (count > CALL_WORDS || inner->exact)
        return;
    call->ip = from->ip;
    call->rsp = from->rsp;
    call->rbp = from->rbp;
    call->base_path = last->path;
    call->base_rsp = last->rsp;
    call->base_rbp = last->rbp;
    call->site = site;
    call->base = base;
    call->frames = (uint16_t)(context->last_count - base);
    call->count = (uint8_t)count;
    call->needs_rbp = inner->needs_rbp;
    for (uint32_t i = 0; i < count; i++)
        call->words[i] = context->words[first + i];
}

static INLINE uint32_t capture_once(struct context *context, const struct record_caller *from)
{
    struct walk walk;
    begin(&walk, context, from);
    bool from_library = walk.rsp != from->rsp;
    walk_to_known(&walk);

    /* What lies inside of the base is gone: it would only be passed by. Its own words are of a frame that is. */
    context->last_count = walk.end == WALK_MET && walk.fresh == 0 ? walk.base : 0;
    if (walk.fresh > 0) {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (walk.end != WALK_FAILED && walk.base + walk.fresh <= context->frames_max)
            keep(&walk);
    }
    if (__builtin_expect(context->last_count == 0, 0))
        return 0;
    uint32_t site = last_site(context);
    if (walk.end == WALK_MET && context->last_count <= LIMIT && !from_library)
        keep_call(context, from, walk.base, site);
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

/* Inward of frame last[base - 1], whose nearest callers are looked at. 0: they are others. */
static INLINE uint32_t rough_site(const struct context *context, uint32_t base, uint32_t frames,
                                  uint32_t site, uint32_t *ret_frames)
{
    uint32_t unused;

    if (!is_unchanged(context, base, ROUGH_KNOWN, &unused))
        return 0;
    *ret_frames = base > ROUGH_KNOWN + 1 ? frames + 1 + ROUGH_KNOWN : 0;
    return site;
}

uint32_t capture_roughly(struct context *context, const struct record_caller *from, uint32_t *ret_frames)
{
    const struct known_call *call = record_find_call(context, from);

    if (__builtin_expect(call != NULL, 1)) {
        uint32_t site = rough_site(context, call->base, call->frames, call->site, ret_frames);

        if (__builtin_expect(site != 0, 1))
            return site;
    }
    *ret_frames = 0;
    return capture_now(context, from);
}

/* --- whole walks ---------------------------------------------------------------------------------------------- */

/* Collected first, since the tree grows from the outermost one. */
static bool collect_frame(void *arg, const struct unwind_frame *frame)
{
    struct context *context = arg;

    if (context->frame_count == 0 && is_ours(frame->ip))
        return true;
    if (context->frame_count == context->frame_limit) {
        context->frame_count++;
        return false;
    }
    context->frames[context->frame_count++] = frame->ip;
    return true;
}

static void collect_again(void *arg)
{
    ((struct context *)arg)->frame_count = 0;
}

struct walk_call {
    struct context *context;
    struct unwind_request request;
    enum site_end end;
};

static void run_walk(void *arg)
{
    struct walk_call *call = arg;

    call->end = call->context->unwinder->walk(call->context->state, &call->request);
}

static __attribute__((noinline)) enum site_end walk_here(struct context *context,
                                                         struct unwind_request *request)
{
    struct walk_call call = {.context = context, .request = *request};

    context_walk_begin(context);
    (void)refresh(context);
    context_run_on_stack(run_walk, &call, context->stack_top, &call.request.ip, call.request.registers);
    context_walk_end(context);
    return call.end;
}

static uint32_t site_of_frames(struct context *context, enum site_end end)
{
    uint32_t count = context->frame_count, site = end;

    if (count > context->frame_limit) {
        count = context->frame_limit;
        site = SITE_END_CUT;
    }
    uint64_t path = sites_path_of_end(site);
    while (count-- > 0 && site != SITE_END_NO_STACK) {
        path = sites_path(path, context->frames[count]);
        site = site_of(context, path, context->frames[count], site);
    }
    return site;
}

uint32_t capture_in_full(struct context *context, uint32_t most, bool by_rules)
{
    struct unwind_request request = {
        .frame = collect_frame, .restart = collect_again, .ctx = context, .want_registers = !by_rules};
    uint32_t site;

    do {
        context->frame_limit = most < LIMIT ? most : LIMIT;
        context->frame_count = 0;
        enum site_end end = walk_here(context, &request);
        site = site_of_frames(context, end);
    } while (refresh(context));
    return site ? site : (uint32_t)SITE_END_NO_STACK;
}

enum site_end capture_walk(struct context *context, struct unwind_request *request)
{
    return walk_here(context, request);
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

uint32_t record_capture_anew(const struct record_caller *from)
{
    struct context *context = context_get();

    if (__builtin_expect(!context, 0))
        return SITE_END_NO_STACK;
    uint32_t site = capture_now(context, from);
    if (__builtin_expect(site == 0 || record_hot.check_stacks, 0))
        return capture_slowly(context, site);
    return site;
}

uint32_t record_capture(const struct record_caller *from)
{
    return record_capture_hot(from);
}

static COLD uint32_t capture_freer_slowly(struct context *context)
{
    int saved = errno;
    uint32_t site = capture_in_full(context, RECORD_FREE_DEPTH, true);

    errno = saved;
    return site;
}

struct record_freer record_capture_free(const struct record_caller *from)
{
    struct record_freer freer = {SITE_END_NO_STACK, 0};
    struct context *context = context_get();

    if (__builtin_expect(!context, 0))
        return freer;
    freer.site = capture_roughly(context, from, &freer.frames);
    if (__builtin_expect(freer.site == 0, 0))
        freer.site = capture_freer_slowly(context);
    return freer;
}
