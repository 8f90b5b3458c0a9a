/* SPDX-License-Identifier: MIT */
/* Whole walks, and the sites of stacks that are seen for the first time; see capture.h. */
#include "tracer/record/capture_walk.h"

/* --- sites ------------------------------------------------------------------------------------------------ */

uint32_t capture_site_of(struct context *context, struct capture_home *home, uint64_t path, uint64_t ip,
                         uint32_t parent)
{
    uint32_t site = home->is_new ? 0 : sites_known(path);

    if (site)
        return site;
    home->is_new = true;
    return sites_find(path, ip, parent, capture_module_of(context, home, ip));
}

/* Their slots are anywhere in an index of megabytes: one wait for memory each, unless they are asked for at once. */
#define SLOTS_AT_ONCE 16u

COLD uint32_t capture_make_site(struct context *context, uint32_t count, enum site_end end)
{
    struct capture_home home = {.end = 0};
    uint32_t from = count;

    /* Where a frame's site is known, those of its callers are, too. */
    while (from > 0 && context->last[from - 1].site == 0)
        from--;
    for (uint32_t i = from; i < count && i < from + SLOTS_AT_ONCE; i++)
        sites_prefetch(context->last[i].path);
    uint32_t site = from > 0 ? context->last[from - 1].site : (uint32_t)end;
    for (uint32_t i = from; i < count && site != SITE_END_NO_STACK; i++) {
        struct last_frame *frame = &context->last[i];

        site = capture_site_of(context, &home, frame->path, shown_ip(frame), site);
        /* Without memory there is none this time. */
        if (site != SITE_END_NO_STACK)
            frame->site = site;
    }
    return site;
}

COLD uint32_t capture_make_inner_site(struct context *context, uint32_t site, uint64_t path,
                                      const uint64_t *ips, uint32_t count)
{
    struct capture_home home = {.end = 0};
    uint64_t asked = path;

    for (uint32_t i = count; i-- > 0 && count - i <= SLOTS_AT_ONCE;)
        sites_prefetch(asked = sites_path(asked, ips[i]));
    for (uint32_t i = count; i-- > 0 && site != SITE_END_NO_STACK;) {
        path = sites_path(path, ips[i]);
        site = capture_site_of(context, &home, path, ips[i], site);
    }
    return site;
}

uint32_t capture_cut_site(struct context *context)
{
    const struct last_frame *frame = &context->last[context->last_count - LIMIT];
    uint64_t path = sites_path_of_end(SITE_END_CUT);
    uint32_t site = SITE_END_CUT;
    struct capture_home home = {.end = 0};

    for (uint32_t i = 0; i < LIMIT; i++)
        path = sites_path(path, shown_ip(&frame[i]));
    uint32_t known = sites_known(path);
    if (__builtin_expect(known != 0, 1))
        return known;
    path = sites_path_of_end(SITE_END_CUT);
    for (uint32_t i = 0; i < LIMIT && site != SITE_END_NO_STACK; i++) {
        path = sites_path(path, shown_ip(&frame[i]));
        site = capture_site_of(context, &home, path, shown_ip(&frame[i]), site);
    }
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
    struct capture_home home = {.end = 0};

    if (count > context->frame_limit) {
        count = context->frame_limit;
        site = SITE_END_CUT;
    }
    uint64_t path = sites_path_of_end(site);
    while (count-- > 0 && site != SITE_END_NO_STACK) {
        path = sites_path(path, context->frames[count]);
        site = capture_site_of(context, &home, path, context->frames[count], site);
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
