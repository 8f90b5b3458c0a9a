/* SPDX-License-Identifier: MIT */
#include "tracer/record/record.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/platform.h"
#include "tracer/record/capture.h"
#include "tracer/record/code.h"
#include "tracer/record/context.h"
#include "tracer/record/modules.h"
#include "tracer/record/sites.h"
#include "tracer/record/unwind.h"

#define COLD __attribute__((noinline, cold))

/* Private memory on purpose: a fork copies it, and a frozen copy cannot change under its reader. */
static struct record_root root = {.magic = RECORD_MAGIC, .version = RECORD_LAYOUT_VERSION};
static const struct unwinder *const unwinder = &unwinder_libunwind;
static bool is_on;                                 /* constant after record_start */
static struct code_object self, c_library, loader; /* constant after record_start */

static bool is_inside(const struct code_object *object, uint64_t ip)
{
    return ip >= object->start && ip < object->end;
}

/* --- sites ------------------------------------------------------------------------------------------------
 */

/* Tests: is it what a whole walk by libunwind alone finds? */
static COLD void check_site(struct context *context, uint32_t site)
{
    if (context->captures++ % root.check_stacks != 0)
        return;
    __atomic_add_fetch(&root.stack_checks, 1, __ATOMIC_RELAXED);
    if (capture_in_full(context, root.depth_limit, false) != site)
        __atomic_add_fetch(&root.stack_mismatches, 1, __ATOMIC_RELAXED);
}

static inline uint32_t capture(uint32_t most)
{
    int saved = errno;
    struct context *context = context_get();

    if (!context)
        return SITE_END_NO_STACK;
    uint32_t site = capture_quickly(context);
    if (__builtin_expect(site == 0, 0))
        site = capture_in_full(context, most, true);
    else if (__builtin_expect(root.check_stacks, 0))
        check_site(context, site);
    errno = saved;
    return site;
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

/* Only its thread writes a tally, in recorded calls, which are not nested. */
static inline void count(uint64_t *mine, uint64_t *everybody_s)
{
    if (__builtin_expect(mine != NULL, 1))
        __atomic_store_n(mine, *mine + 1, __ATOMIC_RELAXED);
    else
        __atomic_add_fetch(everybody_s, 1, __ATOMIC_RELAXED);
}

uint64_t record_events(void)
{
    uint64_t sum = __atomic_load_n(&root.allocations, __ATOMIC_RELAXED) +
                   __atomic_load_n(&root.unrecorded, __ATOMIC_RELAXED);
    uintptr_t at = __atomic_load_n(&root.tallies, __ATOMIC_ACQUIRE);

    while (at != 0) {
        const struct record_tally *tally = (const struct record_tally *)at;

        sum += __atomic_load_n(&tally->allocations, __ATOMIC_RELAXED);
        at = tally->next;
    }
    return sum;
}

void record_block(void *entry, uint32_t site, size_t size, enum alloc_kind kind)
{
    struct context *context = context_of_this_thread();

    count(context ? &context->tally.allocations : NULL, &root.allocations);
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
    struct context *context = context_of_this_thread();
    count(context ? &context->tally.frees : NULL, &root.frees);
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
    struct unwind_request request = {
        .frame = keep_exit_frame, .restart = forget_exit_frame, .ctx = &found, .want_registers = true};
    (void)capture_walk(context, &request);
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
    contexts_start(unwinder, config->own_block, &root.tallies);
    root.depth_limit = config->depth_limit;
    root.check_stacks = config->check_stacks;
    capture_start(&self, config->depth_limit);
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

void record_checked(uint64_t *ret_checks, uint64_t *ret_mismatches)
{
    *ret_checks = __atomic_load_n(&root.stack_checks, __ATOMIC_RELAXED);
    *ret_mismatches = __atomic_load_n(&root.stack_mismatches, __ATOMIC_RELAXED);
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
    root.stack_checks = root.stack_mismatches = 0;
}
