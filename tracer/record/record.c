/* SPDX-License-Identifier: MIT */
#include "tracer/record/record.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/platform.h"
#include "tracer/record/capture.h"
#include "tracer/record/code.h"
#include "tracer/record/hot.h"
#include "tracer/record/modules.h"
#include "tracer/record/sites.h"
#include "tracer/record/trace.h"
#include "tracer/record/unwind.h"

#define COLD __attribute__((noinline, cold))

/* Private memory, unless there is a trace file: then a copy of the process sees it grow, as it sees all tables. */
static struct record_root *root; /* constant after record_start */
static const struct unwinder *const unwinder = &unwinder_libunwind;
static bool is_on;                                 /* constant after record_start */
static struct code_object self, c_library, loader; /* constant after record_start */

struct record_hot record_hot;

static uint64_t entry_word(void)
{
    uint64_t generation = root->generation < 255 ? root->generation : 255;

    return (uint64_t)LEDGER_LIVE << 24 | generation << 32;
}

/* The child's: its time goes on from its parent's. */
static uint64_t forked_entry_word(void)
{
    return entry_word() | (record_hot.entry_word >> ENTRY_WHEN_SHIFT) << ENTRY_WHEN_SHIFT;
}

static bool is_inside(const struct code_object *object, uint64_t ip)
{
    return ip >= object->start && ip < object->end;
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

static uint64_t allocations_of(const struct thread_tallies *thread)
{
    uint64_t at, sum;

    do {
        at = __atomic_load_n(&thread->table, __ATOMIC_ACQUIRE);
        const struct tally_table *table = (const struct tally_table *)(uintptr_t)at;
        uint64_t capacity = table ? __atomic_load_n(&table->capacity, __ATOMIC_RELAXED) : 0;

        sum = __atomic_load_n(&thread->allocations, __ATOMIC_RELAXED);
        for (uint64_t i = 0; i < capacity; i++)
            sum += __atomic_load_n(&table->tally[i].allocations, __ATOMIC_RELAXED);
    } while (at != __atomic_load_n(&thread->table, __ATOMIC_ACQUIRE));
    return sum;
}

uint64_t record_events(void)
{
    uint64_t sum = __atomic_load_n(&root->allocations, __ATOMIC_RELAXED) +
                   __atomic_load_n(&root->unrecorded, __ATOMIC_RELAXED);
    uintptr_t at = __atomic_load_n(&root->tallies, __ATOMIC_ACQUIRE);

    while (at != 0) {
        const struct thread_tallies *thread = (const struct thread_tallies *)at;

        sum += allocations_of(thread);
        at = thread->next;
    }
    return sum;
}

/* Of a block with a guard page, which is there before. */
static uint8_t kept_flags(const struct ledger_entry *entry)
{
    return entry->state == LEDGER_LIVE ? entry->flags & LEDGER_GUARDED : 0;
}

void record_block(void *entry, const void *p, uint32_t site, size_t size, enum alloc_kind kind, bool nested)
{
    struct context *context = context_of_this_thread();
    struct sample_weight weight;

    if (site == RECORD_NO_SITE) {
        ;
    } else if (__builtin_expect(context == NULL || nested, 0)) {
        (void)record_tick(); /* who calls may have taken no stack */
        __atomic_add_fetch(&root->allocations, 1, __ATOMIC_RELAXED);
    } else if (record_hot.sample) {
        sample_weigh(size, record_hot.sample, &weight);
        tally_sampled(&context->tally, site, p, &weight, false);
    } else {
        tally_allocated(&context->tally, site, p, size);
    }
    if (__builtin_expect(entry != NULL, 1))
        record_fill(entry, site, size, kind, kept_flags(entry));
}

static inline void count_free(const struct ledger_entry *was, const void *p, bool nested)
{
    struct context *context = nested ? NULL : context_get();
    struct sample_weight weight;

    if (__builtin_expect(modules_epoch() == 0, 0))
        record_unseen_fork();
    if (was != NULL && was->site == RECORD_NO_SITE)
        return;
    if (context == NULL || was == NULL) {
        __atomic_add_fetch(&root->frees, 1, __ATOMIC_RELAXED);
    } else if (record_hot.sample && !record_is_uncounted(was)) {
        sample_weigh(ledger_size(was), record_hot.sample, &weight);
        tally_sampled(&context->tally, was->site, p, &weight, true);
    } else {
        tally_freed(&context->tally, was->site, p, ledger_size(was), record_is_uncounted(was));
    }
}

/* An exchange: of two threads that free the same block one is the first. */
static enum ledger_state exchange_state(struct ledger_entry *entry)
{
    return (enum ledger_state)__atomic_exchange_n(&entry->state, LEDGER_FREED, __ATOMIC_ACQ_REL);
}

bool record_free(void *entry, const void *p, uint32_t freer, bool nested)
{
    struct ledger_entry *of = entry;
    enum ledger_state was = of ? exchange_state(of) : LEDGER_NEVER;

    if (was == LEDGER_FREED)
        return false;
    count_free(was == LEDGER_LIVE ? of : NULL, p, nested);
    if (of)
        of->free_site = freer;
    return true;
}

bool record_claim(void *entry, uint32_t freer, struct ledger_entry *ret_was)
{
    struct ledger_entry *of = entry;

    *ret_was = (struct ledger_entry){0};
    if (!of)
        return true;
    *ret_was = *of;
    ret_was->state = (uint8_t)exchange_state(of);
    if (ret_was->state == LEDGER_FREED)
        return false;
    of->free_site = freer;
    return true;
}

void record_claimed(const struct ledger_entry *was, bool nested)
{
    count_free(was->state == LEDGER_LIVE ? was : NULL, NULL, nested);
}

bool record_selects(size_t size)
{
    struct context *context = context_get();

    record_before_thread();
    if (__atomic_load_n(&record_hot.paused, __ATOMIC_RELAXED) || !context)
        return false;
    return record_hot.sample == 0 || sample_takes(&context->sample, size, record_hot.sample);
}

void record_pause(bool paused)
{
    __atomic_store_n(&record_hot.paused, paused, __ATOMIC_RELAXED);
    /* Blocks that were not recorded are still freed: it stays so. */
    __atomic_store_n(&record_hot.selective, true, __ATOMIC_RELAXED);
    modules_changed(); /* so that all contexts see it */
}

uintptr_t record_new_start, record_new_size;

void record_operator_new(uintptr_t start, uintptr_t size)
{
    record_new_start = start;
    __atomic_store_n(&record_new_size, size, __ATOMIC_RELEASE);
    modules_changed(); /* calls that are known were not asked whether they are from there */
}

void record_missed(void)
{
    __atomic_add_fetch(&root->unrecorded, 1, __ATOMIC_RELAXED);
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
    const char *why_no_trace = "";

    if (!find_ourselves()) {
        *ret_why = "the loader does not know the C library";
        return false;
    }
    if (!unwinder->start(ret_why))
        return false;
    /* Without the file wanted the program runs on, and so does recording. */
    if (!trace_start(config->trace, &why_no_trace))
        config->say_no_trace(why_no_trace);
    root = trace_root();
    root->magic = RECORD_MAGIC;
    root->version = RECORD_LAYOUT_VERSION;
    contexts_start(unwinder, config->own_block, config->depth_limit, &root->tallies);
    root->depth_limit = config->depth_limit;
    root->check_stacks = config->check_stacks;
    record_hot = (struct record_hot){.root = root,
                                     .entry_word = entry_word(),
                                     .depth_limit = config->depth_limit,
                                     .check_stacks = config->check_stacks != 0,
                                     .selective = config->sample != 0 || config->paused,
                                     .paused = config->paused,
                                     .sample = config->sample};
    root->sample = config->sample;
    root->began_ms = platform_now_ms();
    capture_start(&self);
    strncpy(root->unwinder, unwinder->name, sizeof(root->unwinder) - 1);
    if (!modules_start(root) || !sites_start(root)) {
        *ret_why = "no memory for the site table";
        trace_end(RECORD_ENDS, false);
        return false;
    }
    /* Warm: libunwind's first walk makes its pools. */
    struct record_caller caller = record_caller();
    if (record_capture(&caller) == SITE_END_NO_STACK) {
        *ret_why = "libunwind cannot walk this process's stack";
        trace_end(RECORD_ENDS, false);
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

void record_end(enum record_ending ending, bool keep)
{
    if (is_on)
        trace_end(ending, keep);
}

void record_before_thread(void)
{
    if (!is_on)
        return;
    if (__builtin_expect(modules_epoch() == 0, 0))
        record_unseen_fork();
    if (trace_is_due())
        record_begin_own_trace();
}

void record_begin_own_trace(void)
{
    contexts_forget_tallies();
    root->allocations = root->frees = root->unrecorded = 0;
    record_hot.counted_from = (uint8_t)(record_hot.entry_word >> 32);
    int saved = errno;
    trace_begin_own();
    errno = saved;
}

const struct record_root *record_root_of(void)
{
    return is_on ? root : NULL;
}

void record_checked(uint64_t *ret_checks, uint64_t *ret_mismatches)
{
    *ret_checks = __atomic_load_n(&root->stack_checks, __ATOMIC_RELAXED);
    *ret_mismatches = __atomic_load_n(&root->stack_mismatches, __ATOMIC_RELAXED);
}

void record_modules_changed(void)
{
    modules_changed();
}

void record_modules_may_be_gone(void)
{
    modules_may_be_gone();
}

void record_modules_opening(void)
{
    modules_opening();
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

/* Whatever locks its parent's threads held are no longer held; it has one thread. */
void record_unseen_fork(void)
{
    int saved = errno;

    record_fork_child();
    modules_restore_epoch();
    errno = saved;
}

void record_fork_child(void)
{
    if (!is_on)
        return;
    sites_fork_child();
    modules_fork_child();
    contexts_fork_child();
    if (!trace_fork_child()) {
        /* Its parent's tables are no place for it: it records nothing, and what it frees is nobody's. */
        record_hot.counted_from = UINT8_MAX;
        record_pause(true);
        return;
    }
    root->generation++;
    record_hot.entry_word = forked_entry_word();
    root->stack_checks = root->stack_mismatches = 0;
}
