/* SPDX-License-Identifier: MIT */
/*
 * The site of a stack in passing: nothing else of it is kept.
 *
 *     ip, rsp, rbp --> rule of ip --> ip, rsp, rbp --> ... --> a frame of the last stack, whose rest is as it was
 *         |                               |                       |
 *         '----------- ips[] -------------'                       path --> the paths of ips[], inward --> site
 *
 * Most stacks that are no known call (context.h) come seldom, of very many. To keep one, its frames, the words that led to
 * them, and an entry among the calls, in which another's is lost, takes as long again as to tell it. So they are told here,
 * and `last` and the calls stay as they are. A stack is kept the second time that it is met among few others. So that
 * `last` is not left behind by a program that goes on elsewhere, whoever comes when PASSED_FRAMES were stepped over is
 * kept, too. (4,096 stacks in random order that differ in the two innermost calls, 20 deep: a pair takes 220 ns more than
 * without recording, and took 320. cc1plus takes as long as it did.)
 *
 * Anything but plain frames whose rules are at hand, on stack that is known, ends it: the site is 0, nothing was done, and a
 * walk is made (capture_walk.h). No module that went unseen is missed here: all code that a step is made from was walked before.
 */
#include "tracer/record/capture_walk.h"

#define PASS_FRAMES   24u /* most are fewer */
#define PASSED_FRAMES 256u
#define CROWDED_KEEPS 16u

/* A frame, of which ip is a return address. */
struct pass {
    uint64_t ip, rsp, rbp;
};

/* The frame that a call is made in is on the stack that this runs on: all from there to `high` can be read, as some was. */
static INLINE bool begins(const struct context *context, uint64_t ip, uint64_t rsp)
{
    return rsp >= context->low && rsp < context->high && !is_ours(ip);
}

static INLINE bool step(struct context *context, struct pass *at)
{
    uint64_t rbp_at, left;

    return capture_step_plain(context, at->ip - 1, true, &at->ip, &at->rsp, &at->rbp, &rbp_at, &left);
}

/* A stack that comes twice among few others. Where there is no room for all that do, one in some: the others would
 * push each other out. */
static INLINE bool is_worth_keeping(struct context *context, uint32_t *met, uint64_t path,
                                    struct known_index *index, const struct record_caller *from)
{
    uint32_t *place = &met[path >> (64 - MET_LOG)], was = *place, hash;

    *place = (uint32_t)path;
    if (__builtin_expect(was != (uint32_t)path, 1))
        return false;
    hash = record_hash(context, from);
    return record_other_slots(record_bucket(index, hash), hash) != RECORD_ALL_OTHER_SLOTS ||
           ++context->crowded % CROWDED_KEEPS == 0;
}

/* --- calls --------------------------------------------------------------------------------------------------- */

/* As a walk does (capture.c). The number of frames inward of last[*ret_base - 1], or 0. */
static INLINE uint32_t to_known(struct context *context, const struct record_caller *from,
                                uint64_t ips[PASS_FRAMES], uint32_t *ret_base)
{
    const struct last_frame *none = context->last - 1, *met = none + context->last_count;
    const struct unwind_word *passed = context->words + context->words_max;
    struct pass at = {from->ip, from->rsp, from->rbp};

    for (uint32_t count = 0; count < PASS_FRAMES; count++) {
        while (met->rsp < at.rsp)
            met--;
        if (met->ip == at.ip && met->rsp == at.rsp && met->words_out <= passed && !met->exact &&
            (!met->needs_rbp || met->rbp == at.rbp)) {
            *ret_base = (uint32_t)(met - none);
            if (*ret_base + count > LIMIT)
                return 0;
            if (capture_is_unchanged(context, *ret_base, LIMIT, &passed))
                return count;
        }
        ips[count] = at.ip;
        if (!step(context, &at))
            return 0;
    }
    return 0;
}

static COLD uint32_t make_call_site(struct context *context, uint32_t base, const uint64_t *ips,
                                    uint32_t count)
{
    uint32_t site = context->last[base - 1].site;

    if (site == 0)
        site = capture_make_site(context, base, context->end);
    return capture_make_inner_site(context, site, context->last[base - 1].path, ips, count);
}

uint32_t record_pass_call(struct context *context, uint64_t ip, uint64_t rsp, uint64_t rbp)
{
    const struct record_caller from = {ip, rsp, rbp};
    uint64_t ips[PASS_FRAMES];
    uint32_t base;

    if (!begins(context, ip, rsp) || context->last_is_cut)
        return 0;
    uint32_t count = to_known(context, &from, ips, &base);
    if (count == 0)
        return 0;
    uint64_t path = context->last[base - 1].path;
    for (uint32_t i = count; i-- > 0;)
        path = sites_path(path, ips[i]);
    context->passed += count;
    if (context->passed > PASSED_FRAMES ||
        is_worth_keeping(context, context->met_calls, path, &context->call_index, &from))
        return 0;
    uint32_t site = sites_known(path);
    if (__builtin_expect(site == 0, 0))
        site = make_call_site(context, base, ips, count);
    return context->epoch == modules_epoch() ? site : 0;
}

/* --- frees --------------------------------------------------------------------------------------------------- */

static COLD uint32_t make_free_site(struct context *context, const uint64_t *ips)
{
    return capture_make_inner_site(context, SITE_END_CUT, sites_path_of_end(SITE_END_CUT), ips,
                                   RECORD_FREE_DEPTH);
}

uint32_t record_pass_free(struct context *context, uint64_t ip, uint64_t rsp, uint64_t rbp)
{
    uint64_t ips[RECORD_FREE_DEPTH];
    const struct record_caller from = {ip, rsp, rbp};
    struct pass at = {ip, rsp, rbp};

    if (!begins(context, ip, rsp))
        return 0;
    for (uint32_t i = 0; i < RECORD_FREE_DEPTH; i++) {
        ips[i] = at.ip;
        if (i < RECORD_FREE_DEPTH - 1 && !step(context, &at))
            return 0;
    }
    if (at.ip == 0)
        return 0;
    uint64_t path = sites_path_of_end(SITE_END_CUT);
    for (uint32_t i = RECORD_FREE_DEPTH; i-- > 0;)
        path = sites_path(path, ips[i]);
    if (is_worth_keeping(context, context->met_frees, path, &context->free_index, &from))
        return 0;
    uint32_t site = sites_known(path);
    if (__builtin_expect(site == 0, 0))
        site = make_free_site(context, ips);
    return context->epoch == modules_epoch() ? site : 0;
}
