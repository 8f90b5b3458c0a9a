/* SPDX-License-Identifier: MIT */
#include "tracer/record/capture.h"

#include <string.h>

#include "tracer/record/rules.h"
#include "tracer/record/sites.h"

typedef uint64_t __attribute__((may_alias)) any_word;

static struct code_object self; /* both constant after capture_start */
static uint32_t limit;

void capture_start(const struct code_object *library, uint32_t depth_limit)
{
    self = *library;
    limit = depth_limit;
}

static bool is_ours(uint64_t ip)
{
    return ip >= self.start && ip < self.end;
}

/* --- the module list's epoch ----------------------------------------------------------------------------- */

/* Frames are told without asking whose code they are. What is unloaded unseen (libc's own plugins) shows when other code
 * at that place is walked for the first time: the epoch is then another, and this walk is made again. */
static bool refresh(struct context *context)
{
    uint32_t now = modules_epoch();

    if (__builtin_expect(context->epoch == now, 1))
        return false;
    context->last_count = 0;
    memset(context->known, 0, sizeof(context->known));
    context->low = context->high = 0;
    context->unwinder->forget(context->state, now);
    context->epoch = now;
    return true;
}

/* --- sites ------------------------------------------------------------------------------------------------ */

static uint32_t module_of(struct context *context, uint64_t ip)
{
    struct code_object object;

    return code_find(ip - 1, &object) ? modules_find(&context->modules, &object) : MODULE_NONE;
}

/* Of a frame whose callers' site is `parent`. */
static uint32_t site_of(struct context *context, uint64_t ip, uint32_t parent)
{
    uint32_t hash = (uint32_t)((ip ^ (uint64_t)parent << 20) * 0x9e3779b97f4a7c15u >> (64 - KNOWN_SITES_LOG));
    struct known_site *known = &context->known[hash];

    if (__builtin_expect(known->ip != ip || known->parent != parent, 0))
        *known = (struct known_site){ip, parent, sites_find(ip, parent, module_of(context, ip))};
    return known->site;
}

/* --- what is as it was --------------------------------------------------------------------------------------- */

/* The words that led from frame `at` outward are as they were; otherwise *ret_rest is how many outermost frames may still
 * be met: the one that the word led to, too, for its place may be reached by other words. */
static bool is_unchanged(const struct context *context, uint32_t at, uint32_t *ret_rest)
{
    const struct unwind_word *words = context->words;
    uint32_t i = at > 0 ? context->last[at - 1].words_end : context->end_words;

    while (i > 0 && *(const any_word *)(uintptr_t)words[i - 1].at == words[i - 1].value)
        i--;
    if (__builtin_expect(i == 0, 1))
        return true;
    while (at > 0 && context->last[at - 1].words_end >= i)
        at--;
    *ret_rest = at + 1;
    return false;
}

static inline bool is_same_frame(const struct unwind_place *a, const struct unwind_place *b)
{
    return a->rsp == b->rsp && a->ip == b->ip && a->rbp == b->rbp && a->exact == b->exact;
}

/* --- walking ------------------------------------------------------------------------------------------------- */

struct walk {
    struct context *context;
    struct unwind_place at;
    enum unwind_step result;
    struct unwind_reads reads; /* that led to `at` */
    uint32_t base;             /* outermost frames of `last` that are this stack's, too */
    uint32_t fresh;            /* inner frames that are new, context->fresh[0] the innermost */
    uint32_t words;            /* context->fresh_words in use */
};

static void run_step(void *arg)
{
    struct walk *walk = arg;

    walk->result = walk->context->unwinder->step(walk->context->state, &walk->at, &walk->reads);
}

static __attribute__((noinline)) void step_apart(struct walk *walk)
{
    struct context *context = walk->context;
    uint64_t ip, registers[UNWIND_REGISTERS];

    context_walk_begin(context);
    context_run_on_stack(run_step, walk, context->stack_top, &ip, registers);
    context_walk_end(context);
    context->unwinder->readable(context->state, &context->low, &context->high);
}

static inline uint64_t word_at(uint64_t address)
{
    return *(const any_word *)(uintptr_t)address;
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

/* A plain frame whose rule is known, on a stack that is known; false: nothing was done. */
static inline bool step_here(struct walk *walk)
{
    const struct context *context = walk->context;
    struct unwind_place *at = &walk->at;
    struct rule rule = rules_get(at->exact ? at->ip : at->ip - 1, context->epoch);
    uint64_t cfa = (rule.cfa_from_rbp ? at->rbp : at->rsp) + (uint64_t)(int64_t)rule.cfa_offset;
    uint64_t rbp_at = cfa + (uint64_t)(int64_t)rule.rbp_offset;

    if (rule.kind != RULE_PLAIN || cfa <= at->rsp || !is_readable(context, cfa - 8) ||
        (rule.rbp_saved && !is_readable(context, rbp_at)))
        return false;
    at->ip = word_at(cfa - 8);
    at->rsp = cfa;
    at->exact = false;
    push_word(walk, cfa - 8, at->ip);
    if (rule.rbp_saved) {
        at->rbp = word_at(rbp_at);
        push_word(walk, rbp_at, at->rbp);
    }
    walk->result = at->ip ? UNWIND_STEPPED : UNWIND_LAST;
    return true;
}

/* Any frame. false: its words would leave too little room for those of as many plain frames as may follow. */
static __attribute__((noinline)) bool step_anyhow(struct walk *walk)
{
    const struct unwind_reads *reads = &walk->reads;

    step_apart(walk);
    if (walk->words + UNWIND_READS + 2 * (RECORD_DEPTH_MAX - walk->fresh) > WORDS_MAX)
        return false;
    if (reads->count > UNWIND_READS)
        push_word(walk, (uintptr_t)&walk->context->never, 1);
    for (uint32_t i = 0; i < reads->count && reads->count <= UNWIND_READS; i++)
        push_word(walk, reads->word[i].at, reads->word[i].value);
    return true;
}

/* Out of the library, whose frames nobody wants to see. They are gone the next time, and not kept. */
static bool leave_library(struct walk *walk)
{
    for (uint32_t i = 0; i < OWN_FRAMES; i++) {
        if (!is_ours(walk->at.ip))
            return true;
        if (!step_here(walk) && !step_anyhow(walk))
            return false;
        walk->words = 0;
        if (walk->result != UNWIND_STEPPED)
            return false;
    }
    return false;
}

/* Frames outward until one is met whose rest is known, or the stack ends. false: it cannot be walked so. */
static bool walk_to_known(struct walk *walk)
{
    struct context *context = walk->context;
    struct unwind_place *at = &walk->at;
    uint32_t rest = context->last_count;

    for (;;) {
        while (rest > 0 && context->last[rest - 1].at.rsp < at->rsp)
            rest--;
        if (rest > 0 && is_same_frame(&context->last[rest - 1].at, at)) {
            walk->base = rest;
            if (is_unchanged(context, rest - 1, &rest))
                return true;
        }
        if (walk->fresh == limit)
            return false;
        context->fresh[walk->fresh++] = (struct fresh_frame){*at, walk->words};
        if (__builtin_expect(!step_here(walk), 0) && !step_anyhow(walk))
            return false;
        if (walk->result != UNWIND_STEPPED) {
            walk->base = 0;
            return walk->result == UNWIND_LAST || walk->result == UNWIND_NO_INFO;
        }
    }
}

/* Where the stack ended, and the words that said so: a return address of 0 may be another the next time. */
static uint32_t note_end(const struct walk *walk)
{
    struct context *context = walk->context;

    context->end_words = 0;
    for (uint32_t i = context->fresh[walk->fresh - 1].words_end; i < walk->words; i++)
        context->words[context->end_words++] = context->fresh_words[i];
    return walk->result == UNWIND_LAST ? SITE_END_COMPLETE : SITE_END_NO_INFO;
}

/* The words that led to frame `of` of the fresh ones, or to the base's innermost, move to those of the last walk. */
static uint32_t keep_words(const struct walk *walk, uint32_t of, uint32_t end)
{
    struct context *context = walk->context;
    uint32_t from = of == 0 ? 0 : context->fresh[of - 1].words_end;
    uint32_t to = of < walk->fresh ? context->fresh[of].words_end : walk->words;

    while (from < to && end < WORDS_MAX)
        context->words[end++] = context->fresh_words[from++];
    return end;
}

/* The walk becomes the last one. Returns its site. */
static uint32_t keep(const struct walk *walk)
{
    struct context *context = walk->context;
    uint32_t count = walk->base, site, end;

    context->last_count = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (count > 0) {
        end = count > 1 ? context->last[count - 2].words_end : context->end_words;
        end = context->last[count - 1].words_end = keep_words(walk, walk->fresh, end);
        site = context->last[count - 1].site;
    } else {
        site = note_end(walk);
        end = context->end_words;
    }
    for (uint32_t i = walk->fresh; i-- > 0; count++) {
        const struct unwind_place *frame = &context->fresh[i].at;

        site = site_of(context, frame->exact ? frame->ip + 1 : frame->ip, site);
        end = keep_words(walk, i, end);
        context->last[count] = (struct last_frame){*frame, site, end};
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    context->last_count = end < WORDS_MAX ? count : 0;
    return site;
}

static uint32_t capture_once(struct context *context, const struct unwind_place *from)
{
    struct walk walk;

    walk.context = context;
    walk.at = *from;
    walk.base = walk.fresh = walk.words = 0;
    if (!leave_library(&walk) || !walk_to_known(&walk) || walk.base + walk.fresh > limit) {
        context->last_count = 0;
        return 0;
    }
    if (walk.fresh == 0) {
        /* What lies inside it is gone: it would only be passed by. Its own words are of a frame that is. */
        context->last_count = walk.base;
        return context->last[walk.base - 1].site;
    }
    uint32_t site = keep(&walk);
    return site ? site : (uint32_t)SITE_END_NO_STACK;
}

__attribute__((noinline)) uint32_t capture_quickly(struct context *context)
{
    struct unwind_place here = {.exact = true};
    uint32_t site;

    __asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2"
                     : "=&r"(here.ip), "=&r"(here.rsp), "=&r"(here.rbp));
    (void)refresh(context);
    do
        site = capture_once(context, &here);
    while (refresh(context));
    return site;
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
    while (count-- > 0)
        site = site_of(context, context->frames[count], site);
    return site;
}

uint32_t capture_in_full(struct context *context, uint32_t most, bool by_rules)
{
    struct unwind_request request = {
        .frame = collect_frame, .restart = collect_again, .ctx = context, .want_registers = !by_rules};
    uint32_t site;

    do {
        context->frame_limit = most < limit ? most : limit;
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
