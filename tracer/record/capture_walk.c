/* SPDX-License-Identifier: MIT */
/* See capture_walk.h. */
#include "tracer/record/capture_walk.h"
#include "tracer/record/cfi.h"

#include <errno.h>
#include <string.h>

static void forget_known(struct known_index *index)
{
    if (index->next > 1)
        memset(index->bucket, 0, sizeof(index->bucket));
    index->next = 1;
    index->is_full = false;
}

COLD bool capture_refresh_now(struct context *context, uint32_t now)
{
    if (now == 0) {
        record_unseen_fork();
        now = modules_epoch();
    }
    context->last_count = 0;
    context->low = context->high = 0;
    if (context->has_rules)
        memset(context->rules, 0, sizeof(context->rules));
    context->has_rules = false;
    memset(context->places, 0, sizeof(context->places));
    forget_known(&context->call_index);
    forget_known(&context->free_index);
    context->unwinder->forget(context->state, now);
    context->epoch = now;
    context->plain_epoch = record_is_plain() ? now : NO_EPOCH;
    return true;
}

uint32_t capture_module_of(struct context *context, struct capture_home *home, uint64_t ip)
{
    struct code_object object;

    if (ip - 1 >= home->start && ip - 1 < home->end)
        return home->module;
    if (!code_find(ip - 1, &object))
        return MODULE_NONE;
    home->start = object.start;
    home->end = object.end;
    home->module = modules_find(&context->modules, &object);
    return home->module;
}

COLD bool capture_learn_rule(struct context *context, struct known_rule *known, uint64_t pc)
{
    struct rule rule = rules_get(pc, context->epoch);

    if (rule.kind != RULE_PLAIN || rule.rbp_offset % 8 != 0 || (rule.rbp_saved && rule.rbp_offset == 0) ||
        rule.rbp_offset / 8 > INT16_MAX || rule.rbp_offset / 8 < INT16_MIN)
        return false;
    context->has_rules = true;
    *known = (struct known_rule){
        pc, rule.cfa_offset, rule.rbp_saved ? (int16_t)(rule.rbp_offset / 8) : (int16_t)0,
        (uint16_t)((rule.cfa_from_rbp ? FRAME_FROM_RBP : 0) | (rule.rbp_saved ? 0 : FRAME_KEEPS_RBP))};
    return true;
}

COLD bool capture_tell_apart(struct context *context, const struct record_caller *from,
                             const struct unwind_word *a, const struct unwind_word *b)
{
    struct known_place *place = &context->places[from->ip % KNOWN_PLACES];
    bool from_rbp = (context->fresh[0].state & FRAME_FROM_RBP) != 0;

    /* rbp, which a frame keeps below its return address, is a place on the stack. */
    bool is_rbp = record_is_readable(context, a->value) && a->value == b->value && a->at == b->at;
    a += is_rbp;
    b += is_rbp;
    uint64_t out = (a->at - (from_rbp ? from->rbp : from->rsp)) | from_rbp;
    if (a->at != b->at || a->value == b->value || (place->ip == from->ip && place->out == NOWHERE))
        return false;
    place->out = place->ip == from->ip && place->out != out ? NOWHERE : out;
    place->ip = from->ip;
    return true;
}

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

/* Of a frame that is shown as ip. Whoever was at its place before is gone: its module is looked for, in any case. */
static bool read_rule(struct context *context, uint64_t ip, uint64_t pc)
{
    struct code_object object;
    struct rule rule;

    if (!code_find(ip - 1, &object))
        return false;
    (void)modules_find(&context->modules, &object);
    if (!cfi_rule(&object, pc, &rule))
        return false;
    rules_put(pc, context->epoch, &rule);
    return true;
}

/* One word more led to where the walk is now. */
static void push_word(struct walk *walk, uint64_t address, uint64_t value)
{
    walk->context->fresh_words[FRAME_WORDS(walk->state)] = (struct unwind_word){address, value};
    walk->state += FRAME_ONE_WORD;
}

COLD void capture_step_anyhow(struct walk *walk)
{
    struct context *context = walk->context;
    bool exact = walk->state & FRAME_EXACT;
    struct unwind_place at = {walk->ip, walk->rsp, walk->rbp, exact};
    struct step_call call = {.context = context, .at = &at};
    uint64_t pc = walk->ip - !exact;
    int saved = errno;

    if (rules_get(pc, context->epoch).kind == RULE_UNKNOWN && read_rule(context, walk->ip + exact, pc) &&
        step_here(walk))
        return;
    step_apart(&call);
    errno = saved;
    if (step_here(walk))
        return;
    walk->ip = at.ip;
    walk->rsp = at.rsp;
    walk->rbp = at.rbp;
    walk->state = (walk->state & ~(uint64_t)(FRAME_EXACT | FRAME_PLAIN)) | at.exact;
    walk->end = end_of(call.result);
    walk->left = depends_on_rbp(rules_get(pc, context->epoch).kind, call.result) ? FRAME_FROM_RBP : 0;
    const struct unwind_reads *reads = &call.reads;
    if (FRAME_WORDS(walk->state) + UNWIND_READS + 2 * (context->frames_max - walk->fresh) >
        context->words_max)
        walk->end = WALK_FAILED;
    else if (reads->count > UNWIND_READS)
        push_word(walk, (uintptr_t)&context->never, 1);
    else
        for (uint32_t i = 0; i < reads->count; i++)
            push_word(walk, reads->word[i].at, reads->word[i].value);
}

COLD void capture_leave_library(struct walk *walk)
{
    for (uint32_t i = 0; i < OWN_FRAMES && walk->end == WALK_GOES_ON; i++) {
        if (!is_ours(walk->ip))
            return;
        if (!step_here(walk))
            capture_step_anyhow(walk);
        walk->state &= FRAME_EXACT;
    }
    walk->end = WALK_FAILED;
}
