/* SPDX-License-Identifier: MIT */
#include "tracer/record/record.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/platform.h"
#include "tracer/record/code.h"
#include "tracer/record/context.h"
#include "tracer/record/modules.h"
#include "tracer/record/sites.h"
#include "tracer/record/unwind.h"

/* Private memory on purpose: a fork copies it, and a frozen copy cannot change under its reader. */
static struct record_root root = {.magic = RECORD_MAGIC, .version = RECORD_LAYOUT_VERSION};
static const struct unwinder *const unwinder = &unwinder_libunwind;
static bool is_on;                                 /* constant after record_start */
static struct code_object self, c_library, loader; /* constant after record_start */

static bool is_inside(const struct code_object *object, uint64_t ip)
{
    return ip >= object->start && ip < object->end;
}

/* --- one walk ---------------------------------------------------------------------------------------------
 */

/* One frame of a capture: collected first, since the tree grows from the outermost one. */
static bool collect_frame(void *arg, const struct unwind_frame *frame)
{
    struct context *context = arg;

    if (context->frame_count == 0 && is_inside(&self, frame->ip))
        return true;
    if (context->frame_count == context->frame_limit) {
        context->frame_count++;
        return false;
    }
    struct code_object object;
    uint32_t module =
        code_find(frame->ip - 1, &object) ? modules_find(&context->modules, &object) : MODULE_NONE;
    context->frames[context->frame_count].ip = frame->ip;
    context->frames[context->frame_count].module = module;
    context->frame_count++;
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

    call->end = unwinder->walk(call->context->state, &call->request);
}

static void refresh(struct context *context)
{
    uint32_t now = modules_epoch();

    if (context->epoch != now) {
        unwinder->forget(context->state, now);
        context->epoch = now;
    }
}

static __attribute__((noinline)) void walk_here(struct walk_call *call)
{
    context_walk_begin(call->context);
    refresh(call->context);
    context_run_on_stack(run_walk, call, call->context->stack_top, &call->request.ip,
                         call->request.registers);
    context_walk_end(call->context);
}

/* --- sites ------------------------------------------------------------------------------------------------
 */

static uint32_t site_of_frames(const struct context *context, enum site_end end)
{
    uint32_t count = context->frame_count;
    uint32_t site = end;

    if (count > context->frame_limit) {
        count = context->frame_limit;
        site = SITE_END_CUT;
    }
    while (count-- > 0)
        site = sites_find(context->frames[count].ip, site, context->frames[count].module);
    return site;
}

static uint32_t capture(uint32_t limit)
{
    int saved = errno;
    struct context *context = context_get();

    if (!context)
        return SITE_END_NO_STACK;
    struct walk_call call = {.context = context,
                             .request = {.frame = collect_frame, .restart = collect_again, .ctx = context}};
    context->frame_limit = limit < root.depth_limit ? limit : root.depth_limit;
    do {
        context->frame_count = 0;
        walk_here(&call);
        /* A frame showed that code was replaced unseen (libc unloads its own plugins): rules may have been
         * stale. */
    } while (context->epoch != modules_epoch());
    uint32_t site = site_of_frames(context, call.end);
    errno = saved;
    return site ? site : (uint32_t)SITE_END_NO_STACK;
}

uint32_t record_capture(void)
{
    return capture(root.depth_limit);
}

uint32_t record_capture_free(void)
{
    return capture(RECORD_FREE_DEPTH);
}

uint32_t record_stack(uint32_t site, uint64_t *ips, uint32_t max)
{
    uint32_t count = 0;

    for (const struct site_node *node = sites_node(site); node && count < max;
         node = sites_node(node->parent))
        ips[count++] = node->ip;
    return count;
}

/* --- blocks -----------------------------------------------------------------------------------------------
 */

void record_block(void *entry, uint32_t site, size_t size, enum alloc_kind kind)
{
    __atomic_add_fetch(&root.allocations, 1, __ATOMIC_RELAXED);
    if (!entry)
        return;
    /* Entries arrive zeroed, or the layer that allocated has filled its part. */
    const struct ledger_entry *old = entry;
    uint8_t kept = old->state == LEDGER_LIVE ? old->flags & LEDGER_GUARDED : 0;
    struct ledger_entry filled = {
        .site = site,
        .size_low = (uint32_t)size,
        .size_high = (uint16_t)(size >> 32),
        .kind = (uint8_t)kind,
        .state = LEDGER_LIVE,
        .generation = (uint8_t)(root.generation < 255 ? root.generation : 255),
        .flags = kept,
    };
    memcpy(entry, &filled, sizeof(filled));
}

bool record_free(void *entry, uint32_t free_site)
{
    struct ledger_entry *freed = entry;

    /* An exchange: of two threads that free the same block one is the first. */
    if (freed && __atomic_exchange_n(&freed->state, LEDGER_FREED, __ATOMIC_ACQ_REL) == LEDGER_FREED)
        return false;
    __atomic_add_fetch(&root.frees, 1, __ATOMIC_RELAXED);
    if (freed)
        freed->free_site = free_site;
    return true;
}

void record_missed(void)
{
    __atomic_add_fetch(&root.unrecorded, 1, __ATOMIC_RELAXED);
}

/* --- the frame that called exit ---------------------------------------------------------------------------
 */

/* Goes outward to the first frame of the program; ret is the last frame seen when there is none (a thread
 * whose start routine returned as the last one). */
static bool keep_exit_frame(void *arg, const struct unwind_frame *frame)
{
    struct record_frame *ret = arg;

    ret->ip = frame->ip;
    memcpy(ret->registers, frame->registers, sizeof(ret->registers));
    return is_inside(&self, frame->ip) || is_inside(&c_library, frame->ip) || is_inside(&loader, frame->ip);
}

static void forget_exit_frame(void *arg)
{
    memset(arg, 0, sizeof(struct record_frame));
}

bool record_exit_frame(struct record_frame *ret)
{
    int saved = errno;
    struct context *context = is_on ? context_get() : NULL;

    if (!context)
        return false;
    struct record_frame found = {0};
    struct walk_call call = {
        .context = context,
        .request = {
            .frame = keep_exit_frame, .restart = forget_exit_frame, .ctx = &found, .want_registers = true}};
    walk_here(&call);
    errno = saved;
    if (!found.ip || !found.registers[UNWIND_RSP])
        return false;
    found.live_registers = 1u << UNWIND_RBX | 1u << UNWIND_RBP | 15u << UNWIND_R12;
    *ret = found;
    return true;
}

/* --- life -------------------------------------------------------------------------------------------------
 */

static bool find_ourselves(void)
{
    return code_find((uintptr_t)&record_start, &self) && code_find((uintptr_t)&exit, &c_library) &&
           code_find((uintptr_t)dlsym(RTLD_DEFAULT, "__tls_get_addr"), &loader);
}

bool record_start(const struct record_config *config, const char **ret_why)
{
    if (!find_ourselves()) {
        *ret_why = "the loader does not know the C library";
        return false;
    }
    if (!unwinder->start(ret_why))
        return false;
    contexts_start(unwinder, config->own_block);
    root.depth_limit = config->depth_limit;
    strncpy(root.unwinder, unwinder->name, sizeof(root.unwinder) - 1);
    if (!modules_start(&root) || !sites_start(&root)) {
        *ret_why = "no memory for the site table";
        return false;
    }
    /* Warm: libunwind's first walk makes its pools. */
    if (record_capture() == SITE_END_NO_STACK) {
        *ret_why = "libunwind cannot walk this process's stack";
        return false;
    }
    unwinder->settle();
    is_on = true;
    return true;
}

bool record_is_on(void)
{
    return is_on;
}

const struct record_root *record_root_of(void)
{
    return is_on ? &root : NULL;
}

void record_modules_changed(void)
{
    modules_changed();
}

void record_thread_exit(void)
{
    context_release();
}

bool record_thread_abandoned(void)
{
    if (sites_lock_is_mine() || modules_lock_is_mine() || contexts_lock_is_mine())
        return false;
    context_abandon();
    return true;
}

void record_fork_prepare(void)
{
    if (is_on)
        contexts_fork_prepare();
}

void record_fork_parent(void)
{
    if (is_on)
        contexts_fork_parent();
}

void record_fork_child(void)
{
    if (!is_on)
        return;
    sites_fork_child();
    modules_fork_child();
    contexts_fork_child();
    root.generation++;
}
