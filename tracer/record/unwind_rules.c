/* SPDX-License-Identifier: MIT */
#include "tracer/record/libunwind_state.h"
#include "tracer/record/rules.h"

/* --- rules: asked of libunwind once a return address
 * ---------------------------------------------------------- */

/* Step once from pc on the made-up stack and read off where everything came from. Two registers, known to be
 * far apart, tell which one the CFA was computed from; a word that is its own address tells the slot it was
 * read from. Whatever does not come out as "register plus offset" is special. */
static struct rule read_rule(unw_cursor_t *cursor)
{
    const struct rule special = {.kind = RULE_SPECIAL};
    unw_word_t cfa, ip, rbp;

    if (lib.get_reg(cursor, UNW_REG_SP, &cfa) < 0 || lib.get_reg(cursor, UNW_REG_IP, &ip) < 0 ||
        lib.get_reg(cursor, UNW_X86_64_RBP, &rbp) < 0)
        return special;
    bool from_rbp = cfa > PROBE_RBP - PROBE_REACH;
    int64_t cfa_offset = (int64_t)(cfa - (from_rbp ? PROBE_RBP : PROBE_RSP));
    bool saved = rbp != PROBE_RBP;
    int64_t rbp_offset = saved ? (int64_t)((rbp ^ PROBE_KEY) - cfa) : 0;

    if (!libunwind_is_made_up(cfa) || (ip ^ PROBE_KEY) != cfa - 8 ||
        (saved && !libunwind_is_made_up(rbp ^ PROBE_KEY)) || cfa_offset <= -RULE_OFFSET_LIMIT ||
        cfa_offset >= RULE_OFFSET_LIMIT || rbp_offset <= -RULE_OFFSET_LIMIT ||
        rbp_offset >= RULE_OFFSET_LIMIT)
        return special;
    return (struct rule){RULE_PLAIN, from_rbp, saved, (int32_t)cfa_offset, (int32_t)rbp_offset};
}

static struct rule derive_rule(struct libunwind_state *state, uint64_t pc)
{
    unw_cursor_t cursor;
    struct rule rule = {.kind = RULE_SPECIAL};

    state->ip = pc;
    state->registers[UNWIND_RSP] = PROBE_RSP;
    state->registers[UNWIND_RBP] = PROBE_RBP;
    state->probing = true;
    if (libunwind_start_cursor(state, &cursor, ONLY_RSP_RBP)) {
        int step = lib.step(&cursor);

        if (state->no_info)
            rule.kind = RULE_NO_INFO;
        else if (step == 0)
            rule.kind = RULE_LAST;
        else if (step > 0)
            rule = read_rule(&cursor);
    }
    state->probing = false;
    return rule;
}

static enum unwind_step step_plain(struct libunwind_state *state, struct unwind_place *at,
                                   const struct rule *rule, struct unwind_reads *reads)
{
    uint64_t cfa = (rule->cfa_from_rbp ? at->rbp : at->rsp) + (uint64_t)(int64_t)rule->cfa_offset;

    /* A caller's frame lies above; anything else is damage, and following it might never end. */
    if (cfa <= at->rsp || !libunwind_read_stack(state, cfa - 8, &at->ip))
        return UNWIND_NO_INFO;
    note_read(reads, cfa - 8, at->ip);
    if (rule->rbp_saved) {
        uint64_t rbp_at = cfa + (uint64_t)(int64_t)rule->rbp_offset;
        if (!libunwind_read_stack(state, rbp_at, &at->rbp))
            return UNWIND_NO_INFO;
        note_read(reads, rbp_at, at->rbp);
    }
    at->rsp = cfa;
    at->exact = false;
    return at->ip ? UNWIND_STEPPED : UNWIND_LAST;
}

/* With libunwind, knowing rsp and rbp only: should the frame's rule need another register, the step fails,
 * and the walk has to be made again with all of them. */
static enum unwind_step step_special(struct libunwind_state *state, struct unwind_place *at,
                                     struct unwind_reads *reads)
{
    unw_cursor_t cursor;
    unw_word_t ip, rsp, rbp;
    bool signal_frame = libunwind_is_signal_return(&state->object, at->ip);

    state->ip = at->exact ? at->ip : at->ip - 1;
    state->registers[UNWIND_RSP] = at->rsp;
    state->registers[UNWIND_RBP] = at->rbp;
    if (!libunwind_start_cursor(state, &cursor, ONLY_RSP_RBP))
        return UNWIND_NEEDS_MORE;
    state->reads = reads;
    int step = lib.step(&cursor);
    state->reads = NULL;
    if (state->no_info)
        return UNWIND_NO_INFO;
    if (step == 0)
        return UNWIND_LAST;
    if (step < 0 || lib.get_reg(&cursor, UNW_REG_IP, &ip) < 0 || lib.get_reg(&cursor, UNW_REG_SP, &rsp) < 0 ||
        lib.get_reg(&cursor, UNW_X86_64_RBP, &rbp) < 0)
        return UNWIND_NEEDS_MORE;
    *at = (struct unwind_place){.ip = ip, .rsp = rsp, .rbp = rbp, .exact = signal_frame};
    return ip ? UNWIND_STEPPED : UNWIND_LAST;
}

enum unwind_step libunwind_step(void *arg, struct unwind_place *at, struct unwind_reads *ret_reads)
{
    struct libunwind_state *state = arg;
    uint64_t pc = at->exact ? at->ip : at->ip - 1;
    struct rule rule = rules_get(pc, state->epoch);

    ret_reads->count = 0;

    if (__builtin_expect(rule.kind == RULE_PLAIN, 1))
        return step_plain(state, at, &rule, ret_reads);
    if (!code_find(pc, &state->object))
        return UNWIND_NO_INFO;
    if (rule.kind == RULE_UNKNOWN) {
        rule = derive_rule(state, pc);
        rules_put(pc, state->epoch, &rule);
    }
    switch (rule.kind) {
    case RULE_PLAIN:
        return step_plain(state, at, &rule, ret_reads);
    case RULE_LAST:
        return UNWIND_LAST;
    case RULE_NO_INFO:
        return UNWIND_NO_INFO;
    default:
        return step_special(state, at, ret_reads);
    }
}

/* false: a frame needs a register that rules do not carry. */
bool libunwind_walk_by_rules(struct libunwind_state *state, enum site_end *ret)
{
    const struct unwind_request *request = state->request;
    struct unwind_place at = {
        .ip = request->ip, .rsp = request->registers[UNWIND_RSP], .rbp = request->registers[UNWIND_RBP]};

    for (;;) {
        struct unwind_frame frame = {.ip = at.exact ? at.ip + 1 : at.ip, .exact = at.exact};

        *ret = SITE_END_COMPLETE;
        if (!request->frame(request->ctx, &frame))
            return true;
        struct unwind_reads reads;
        switch (libunwind_step(state, &at, &reads)) {
        case UNWIND_STEPPED:
            break;
        case UNWIND_LAST:
            return true;
        case UNWIND_NO_INFO:
            *ret = SITE_END_NO_INFO;
            return true;
        case UNWIND_NEEDS_MORE:
            return false;
        }
    }
}
