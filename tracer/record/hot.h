/* SPDX-License-Identifier: MIT */
/*
 * hot.h - the part of record.h that most recorded calls are through with, to be inlined in them.
 *
 *   capture   the last stack's innermost frame again, and what is outside of it is as it was: its site is known
 *   block     the entry of a block of the thread's own, and its tally
 *   free      likewise
 */
#ifndef HEAPTALLY_HOT_H
#define HEAPTALLY_HOT_H

#include <string.h>

#include "tracer/record/context.h"
#include "tracer/record/modules.h"
#include "tracer/record/record.h"

/* Constant after record_start(), but for three. entry_word and counted_from: a forked child writes them while it has one
 * thread. `selective` only ever becomes true, and `paused` changes, both by a signal of the companion's, in any thread: who
 * reads an old value records, or not, one block more; whoever finds a block unselected has seen `selective`. */
struct record_hot {
    struct record_root *root;
    uint64_t entry_word; /* the second one of an entry, without the block's own: live, and the generation */
    uint32_t depth_limit;
    uint8_t counted_from; /* the generation whose blocks are counted, and later ones (they saturate) */
    bool check_stacks;
    bool selective; /* not every block is recorded: `sample`, or `paused` for now */
    bool paused;    /* by the companion's signal, any thread; read by all */
    uint64_t sample;
};
extern struct record_hot record_hot __attribute__((visibility("hidden")));

/* A forked child's first allocation (trace.h). */
void record_begin_own_trace(void) __attribute__((visibility("hidden")));

/* The epoch is 0: this is a child that was forked past all handlers. Its tables are made its own. */
void record_unseen_fork(void) __attribute__((visibility("hidden")));

/* check_stacks: the site, which is to be the right one. */
uint32_t record_check_known(uint32_t site) __attribute__((visibility("hidden")));

/* As record_capture(), of which it is the rest. */
uint32_t record_capture_anew(const struct record_caller *from) __attribute__((visibility("hidden")));

static inline struct known_call *record_calls(struct context *context, const struct record_caller *from)
{
    uint64_t hash = from->ip * 0x9e3779b97f4a7c15u ^ from->rsp * 0xd1342543de82ef95u;
    return context->calls[hash >> (64 - KNOWN_CALLS_LOG)];
}

static inline bool record_is_same_word(const struct unwind_word *word)
{
    return stack_word_at(word->at) == word->value;
}

/* The call was made from this place before, inward of a frame that is still on the last stack, and what led there is as it
 * was. Of that frame's own callers nothing is known yet. */
static inline bool record_is_call(const struct context *context, const struct known_call *call,
                                  const struct record_caller *from)
{
    if (call->ip != from->ip || call->rsp != from->rsp || call->base - 1 >= context->last_count)
        return false;
    const struct last_frame *base = &context->last[call->base - 1];
    if (base->path != call->base_path || base->rsp != call->base_rsp ||
        (call->needs_rbp && call->rbp != from->rbp) || (base->needs_rbp && base->rbp != call->base_rbp))
        return false;
    /* The innermost first: each lies where a walk would read, if all before it are the same. */
    const struct unwind_word *word = call->words + call->count;
    while (word != call->words && record_is_same_word(word - 1))
        word--;
    return word == call->words;
}

static inline struct known_call *record_find_call(struct context *context, const struct record_caller *from)
{
    struct known_call *call = record_calls(context, from);
    if (__builtin_expect(context->epoch != modules_epoch(), 0))
        return NULL;
    for (unsigned way = 0; way < CALL_WAYS; way++, call++)
        if (record_is_call(context, call, from))
            return call;
    return NULL;
}

/* From a place that is known, below callers that are all the same. words[0] is never the same (context.h). */
static inline uint32_t record_capture_hot(const struct record_caller *from)
{
    struct context *context = context_of_this_thread();
    if (__builtin_expect(context == NULL, 0))
        return record_capture_anew(from);
    const struct known_call *call = record_find_call(context, from);
    if (__builtin_expect(call == NULL, 0))
        return record_capture_anew(from);
    const struct unwind_word *word = context->words + context->last[call->base - 1].words_out - 1;
    while (record_is_same_word(word))
        word--;
    if (__builtin_expect(word != context->words, 0))
        return record_capture_anew(from);
    return __builtin_expect(record_hot.check_stacks, 0) ? record_check_known(call->site) : call->site;
}

/* As two words: of fields the compiler makes three times the code. */
static inline void record_fill(struct ledger_entry *entry, uint32_t site, size_t size, enum alloc_kind kind,
                               uint8_t flags)
{
    const uint64_t words[2] = {(uint64_t)size << 32 | site, record_hot.entry_word | size >> 32 |
                                                                (uint64_t)kind << 16 | (uint64_t)flags << 40};

    memcpy(entry, words, sizeof(*entry));
}
_Static_assert(offsetof(struct ledger_entry, size_high) == 8 && offsetof(struct ledger_entry, state) == 11 &&
                   offsetof(struct ledger_entry, generation) == 12 &&
                   offsetof(struct ledger_entry, flags) == 13,
               "record_fill() knows where the fields are");

/* After record_capture(), by the same thread: so there is a context, unless memory is out. */
static inline void record_block_hot(void *entry, const void *p, uint32_t site, size_t size,
                                    enum alloc_kind kind, uint8_t flags)
{
    struct context *context = context_of_this_thread();

    if (__builtin_expect(context == NULL, 0)) {
        record_block(entry, p, site, size, kind, false);
        return;
    }
    tally_allocated(&context->tally, site, p, size);
    record_fill(entry, site, size, kind, flags);
}

/* Allocated before this process was forked and began a trace of its own: it is not counted here. */
static inline bool record_is_uncounted(const struct ledger_entry *entry)
{
    return entry->generation < record_hot.counted_from;
}

/* Of a block that no other thread frees at this moment, unless the program is wrong; its entry is LEDGER_LIVE. */
static inline void record_free_hot(void *entry, const void *p, struct record_freer freer)
{
    struct ledger_entry *of = entry;
    struct context *context = context_of_this_thread();

    if (__builtin_expect(context == NULL || record_hot.selective || modules_epoch() == 0, 0)) {
        (void)record_free(entry, p, freer, false);
        return;
    }
    tally_freed(&context->tally, of->site, p, ledger_size(of), record_is_uncounted(of));
    /* First: a fork or a copy in between must not find a live block whose generation is a part of something else. */
    __atomic_store_n(&of->state, LEDGER_FREED, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    of->free_frames = freer.frames & 31u;
    of->free_site = freer.site;
}

#endif
