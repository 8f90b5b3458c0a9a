/* SPDX-License-Identifier: MIT */
/*
 * hot.h - the part of record.h that most recorded calls are through with, to be inlined in them.
 *
 *   capture   the last stack's innermost frame again, and what is outside of it is as it was: its site is known
 *   block     the entry of a block of the thread's own, and its tally
 *   free      likewise
 *
 * The time of an allocation costs nothing but now and then: it is a part of entry_word, which every entry is made of, and
 * who looks at the clock (a tick) stores it there, for all threads. Who does: whoever takes a stack that is not known, or on a
 * slow path; and of a site's other allocations one in TALLY_TICKS, or more (tally_ticked()), as the last thing of the call.
 */
#ifndef HEAPTALLY_HOT_H
#define HEAPTALLY_HOT_H

#include <emmintrin.h>
#include <string.h>

#include "tracer/record/context.h"
#include "tracer/record/modules.h"
#include "tracer/record/record.h"

/* Constant after record_start(), but for four. entry_word and counted_from: a forked child writes them while it has one
 * thread; the time in entry_word is any thread's to write, by record_tick(). `selective` only ever becomes true, and `paused`
 * changes, both by a signal of the companion's, in any thread: who reads an old value records, or not, one block more; whoever
 * finds a block unselected has seen `selective`. */
struct record_hot {
    struct record_root *root;
    uint64_t entry_word; /* the second one of an entry, but for the block's own: live, generation, time */
    uint32_t depth_limit;
    uint8_t counted_from; /* the generation whose blocks are counted, and later ones (they saturate) */
    bool check_stacks;
    bool selective; /* not every block is recorded: `sample`, or `paused` for now */
    bool paused;    /* by the companion's signal, any thread; read by all */
    uint64_t sample;
};
extern struct record_hot record_hot __attribute__((visibility("hidden")));

#define ENTRY_WHEN_SHIFT 48 /* of the time in entry_word, its highest bits */

/* The time is now, for all blocks to come. true: it was an earlier one, to 1/16 s. Signal-safe; preserves errno. */
bool record_tick(void) __attribute__((visibility("hidden")));

/* The same for this block, too, whose tally said that it is due. */
void record_tick_due(struct site_tally *of, void *entry) __attribute__((visibility("hidden")));

/* A forked child's first allocation (trace.h). */
void record_begin_own_trace(void) __attribute__((visibility("hidden")));

/* The epoch is 0: this is a child that was forked past all handlers. Its tables are made its own. */
void record_unseen_fork(void) __attribute__((visibility("hidden")));

static inline uint64_t record_hash(const struct record_caller *from)
{
    return (from->ip + (from->rsp << 29)) * 0x9e3779b97f4a7c15u;
}

/* Not to be told anew from what it was made of, wherever it is used. */
#define RECORD_IN_REGISTER(pointer) __asm__("" : "+r"(pointer))

/* Never that of an unused way, where a call of an earlier epoch may still lie. */
static inline uint16_t record_tag(uint64_t hash)
{
    return (uint16_t)(hash >> 32 | 1);
}

/* Two bits for each of the ways that may be it, but for the first, which is looked at by itself: so most calls go on before
 * this is known. */
static inline unsigned record_ways(const struct known_ways *ways, uint64_t hash)
{
    __m128i all = _mm_load_si128((const __m128i *)(const void *)ways);

    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi16(all, _mm_set1_epi16((short)record_tag(hash)))) & ~3u;
}

static inline bool record_is_same_word(const struct unwind_word *word)
{
    return stack_word_at(word->at) == word->value;
}

/* The last stack has changed, or where tallies are, since the call was looked at: is its base still there? */
static inline bool record_renew_call(struct context *context, struct known_call *call)
{
    if (call->base - 1 >= context->last_count)
        return false;
    const struct last_frame *base = &context->last[call->base - 1];
    if (base->path != call->base_path || base->rsp != call->base_rsp ||
        (base->needs_rbp && base->rbp != call->base_rbp))
        return false;
    call->outer = context->words + base->words_out - 1;
    call->tally = tally_place(&context->tally, call->site);
    call->version = context->version;
    return true;
}

/* The call was made from this place before, inward of a frame that is still on the last stack, and what led there is as it
 * was. Of that frame's own callers nothing is known yet. */
static inline bool record_is_call(struct context *context, struct known_call *call,
                                  const struct record_caller *from)
{
    if (call->ip != from->ip || call->rsp != from->rsp || (call->needs_rbp && call->rbp != from->rbp))
        return false;
    if (__builtin_expect(call->version != context->version, 0) && !record_renew_call(context, call))
        return false;
    /* The innermost first: each lies where a walk would read, if all before it are the same. Always so many, that the
     * processor can tell how it goes on. */
    const struct unwind_word *word = call->words;
#pragma GCC unroll 8
    for (unsigned i = 0; i < CALL_WORDS_LEAST; i++)
        if (!record_is_same_word(&word[i]))
            return false;
    for (unsigned i = CALL_WORDS_LEAST; __builtin_expect(i < call->count, 0); i++)
        if (!record_is_same_word(&word[i]))
            return false;
    return true;
}

static inline struct known_call *record_find_call(struct context *context, const struct record_caller *from)
{
    uint64_t hash = record_hash(from), at = hash >> (64 - KNOWN_CALLS_LOG);
    if (__builtin_expect(context->epoch != modules_epoch(), 0))
        return NULL;
    struct known_call *first = &context->calls[at];
    if (__builtin_expect(context->call_ways[at].tag[0] == record_tag(hash), 1) &&
        record_is_call(context, first, from))
        return first;
    for (unsigned ways = record_ways(&context->call_ways[at], hash); ways != 0; ways &= ways - 1) {
        struct known_call *call = first + (size_t)(unsigned)__builtin_ctz(ways) * (KNOWN_CALLS / 2);
        RECORD_IN_REGISTER(call);
        if (__builtin_expect(record_is_call(context, call, from), 1))
            return call;
        ways &= ways - 1; /* its other bit */
    }
    return NULL;
}

/* All callers of its base are as they were. words[0] is never the same (context.h). */
static inline bool record_is_stack(const struct context *context, const struct known_call *call)
{
    const struct unwind_word *word = call->outer;
    for (;; word -= 4) {
        if (!record_is_same_word(word))
            return word == context->words;
        if (!record_is_same_word(word - 1))
            return word - 1 == context->words;
        if (!record_is_same_word(word - 2))
            return word - 2 == context->words;
        if (!record_is_same_word(word - 3))
            return word - 3 == context->words;
    }
}

/* From a place that is known, below callers that are all the same; or NULL. */
static inline struct known_call *record_known(struct context *context, const struct record_caller *from)
{
    struct known_call *call = record_find_call(context, from);
    return __builtin_expect(call != NULL && record_is_stack(context, call), 1) ? call : NULL;
}

static inline bool record_is_free(const struct known_free *free, const struct record_caller *from)
{
    if (free->ip != from->ip || free->rsp != from->rsp || (free->needs_rbp && free->rbp != from->rbp))
        return false;
#pragma GCC unroll 8
    for (unsigned i = 0; i < FREE_WORDS_LEAST; i++)
        if (!record_is_same_word(&free->words[i]))
            return false;
    for (unsigned i = FREE_WORDS_LEAST; __builtin_expect(i < free->count, 0); i++)
        if (!record_is_same_word(&free->words[i]))
            return false;
    return true;
}

/* The same of a free, for which its nearest callers are enough. The context's epoch is modules_epoch(). */
static inline const struct known_free *record_known_free(struct context *context,
                                                         const struct record_caller *from)
{
    uint64_t hash = record_hash(from), at = hash >> (64 - KNOWN_FREES_LOG);
    const struct known_free *first = &context->frees[at];
    if (__builtin_expect(context->free_ways[at].tag[0] == record_tag(hash), 1) && record_is_free(first, from))
        return first;
    for (unsigned ways = record_ways(&context->free_ways[at], hash); ways != 0; ways &= ways - 1) {
        const struct known_free *free = first + (size_t)(unsigned)__builtin_ctz(ways) * (KNOWN_FREES / 2);
        RECORD_IN_REGISTER(free);
        if (__builtin_expect(record_is_free(free, from), 1))
            return free;
        ways &= ways - 1; /* its other bit */
    }
    return NULL;
}

/* As two words: of fields the compiler makes three times the code. */
static inline void record_fill(struct ledger_entry *entry, uint32_t site, size_t size, enum alloc_kind kind,
                               uint8_t flags)
{
    uint64_t word = __atomic_load_n(&record_hot.entry_word, __ATOMIC_RELAXED);
    const uint64_t words[2] = {(uint64_t)size << 32 | site,
                               word | size >> 32 | (uint64_t)kind << 16 | (uint64_t)flags << 40};

    memcpy(entry, words, sizeof(*entry));
}
_Static_assert(offsetof(struct ledger_entry, size_high) == 8 && offsetof(struct ledger_entry, state) == 11 &&
                   offsetof(struct ledger_entry, generation) == 12 &&
                   offsetof(struct ledger_entry, flags) == 13 && offsetof(struct ledger_entry, when) == 14,
               "record_fill() knows where the fields are");

/* Nothing is to be looked at but what is here: no block is left out, no stack is compared with another walk. */
static inline bool record_is_plain(const struct context *context)
{
    return context != NULL && !record_hot.selective && !record_hot.check_stacks;
}

/* The tally is the site's: it mostly is. */
static inline bool record_has_tally(const struct known_call *call)
{
    return call->tally->site == call->site;
}

/* A block from a call that record_known() found, and that has its tally. true: record_tick_due() is to be called. */
static inline bool record_block_hot(struct context *context, const struct known_call *call, void *entry,
                                    const void *p, size_t size, enum alloc_kind kind, uint8_t flags)
{
    record_fill(entry, call->site, size, kind, flags);
    return tally_allocated_here(&context->tally, call->tally, p, size);
}

/* Allocated before this process was forked and began a trace of its own: it is not counted here. */
static inline bool record_is_uncounted(const struct ledger_entry *entry)
{
    return entry->generation < record_hot.counted_from;
}

/* Of a block that no other thread frees at this moment, unless the program is wrong; its entry is LEDGER_LIVE, and the
 * context's epoch is modules_epoch(). */
static inline void record_free_hot(struct context *context, void *entry, const void *p, uint32_t freer)
{
    struct ledger_entry *of = entry;

    tally_freed(&context->tally, of->site, p, ledger_size(of), record_is_uncounted(of));
    /* First: a fork or a copy in between must not find a live block whose generation is a part of something else. */
    __atomic_store_n(&of->state, LEDGER_FREED, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    of->free_site = freer;
}

#endif
