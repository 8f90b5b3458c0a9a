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

/* Stack that may be read, by the context's own captures. */
static inline bool record_is_readable(const struct context *context, uint64_t address)
{
    return address >= context->low && address + 8 <= context->high;
}

/* Of ip and rsp and, where that tells calls apart, the return address (context.h). */
static inline uint32_t record_hash(const struct context *context, const struct record_caller *from)
{
    const struct known_place *place = &context->places[from->ip % KNOWN_PLACES];
    uint64_t sum = from->ip + (from->rsp << 29);

    if (place->ip == from->ip) {
        uint64_t at = ((place->out & 1) != 0 ? from->rbp : from->rsp) + (place->out & ~(uint64_t)1);
        if (__builtin_expect(record_is_readable(context, at), 1))
            sum += stack_word_at(at) << 7;
    }
    return (uint32_t)(sum * 0x9e3779b97f4a7c15u >> 32);
}

/* Not to be told anew from what it was made of, wherever it is used. */
#define RECORD_IN_REGISTER(pointer) __asm__("" : "+r"(pointer))

static inline struct known_bucket *record_bucket(struct known_index *index, uint32_t hash)
{
    struct known_bucket *bucket = &index->bucket[hash >> (32 - KNOWN_BUCKETS_LOG)];

    RECORD_IN_REGISTER(bucket);
    return bucket;
}

#define RECORD_ALL_OTHER_SLOTS ((1u << KNOWN_SLOTS) - 2)

/* A bit for each slot that may be it, but for the first, which is looked at by itself: so most calls go on before it is known
 * whether there are others. */
static inline unsigned record_other_slots(const struct known_bucket *bucket, uint32_t hash)
{
    const __m128i *all = (const __m128i *)(const void *)bucket;
    __m128i tag = _mm_set1_epi32((int)(hash << 16)), low = _mm_slli_epi32(all[0], 16),
            high = _mm_slli_epi32(all[1], 16);

    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(
               _mm_packs_epi32(_mm_cmpeq_epi32(low, tag), _mm_cmpeq_epi32(high, tag)), _mm_setzero_si128())) &
           ~1u;
}

static inline void record_met(struct known_bucket *bucket, unsigned at)
{
    uint32_t met = bucket->slot[at];

    bucket->slot[at] = bucket->slot[0];
    bucket->slot[0] = met;
}

static inline bool record_is_same_word(const struct unwind_word *word)
{
    return stack_word_at(word->at) == word->value;
}

/* The last stack has changed, or where tallies are, since the call was looked at: is its base still there? (A call whose tally has
 * moved is not known any more: to find it here would be code in every call's way.) */
static inline bool record_renew_call(struct context *context, struct known_call *call)
{
    if (call->base - 1u >= context->last_count)
        return false;
    const struct last_frame *base = &context->last[call->base - 1];
    if (base->path != call->base_path || base->rsp != call->base_rsp ||
        (base->needs_rbp && base->rbp != call->base_rbp) || !tally_is_there(&context->tally, call->tally))
        return false;
    call->outer = base->words_out - 1;
    call->version = context->version;
    return true;
}

/* The call was made from this place before, inward of a frame that is still on the last stack, and what led there is as it
 * was. Of that frame's own callers nothing is known yet.
 * Of the words the innermost is compared first: each lies where a walk would read, if all before it are the same. There are
 * always so many, that the processor can tell how it goes on. */
static inline bool record_is_call(struct context *context, struct known_call *call,
                                  const struct record_caller *from)
{
    if (call->ip != from->ip || call->rsp != from->rsp ||
        ((call->flags & CALL_NEEDS_RBP) != 0 && call->rbp != from->rbp))
        return false;
#pragma GCC unroll 8
    for (unsigned i = 0; i < CALL_WORDS_LEAST; i++)
        if (!record_is_same_word(&call->words[i]))
            return false;
    for (unsigned i = CALL_WORDS_LEAST; __builtin_expect(i < call->count, 0); i++)
        if (!record_is_same_word(&call->words[i]))
            return false;
    return __builtin_expect(call->version == context->version, 1) || record_renew_call(context, call);
}

/* The first of the bucket, or NULL: it is another. */
static inline struct known_call *record_first_call(struct context *context, const struct known_bucket *bucket,
                                                   uint32_t hash, const struct record_caller *from)
{
    uint32_t slot = bucket->slot[0];
    if (__builtin_expect((uint16_t)slot != (uint16_t)hash, 0))
        return NULL;
    struct known_call *call = &context->calls[slot >> 16];
    RECORD_IN_REGISTER(call);
    return __builtin_expect(record_is_call(context, call, from), 1) ? call : NULL;
}

static inline struct known_call *record_other_call(struct context *context, struct known_bucket *bucket,
                                                   uint32_t hash, const struct record_caller *from)
{
    for (unsigned slots = record_other_slots(bucket, hash); slots != 0; slots &= slots - 1) {
        unsigned at = (unsigned)__builtin_ctz(slots);
        struct known_call *call = &context->calls[bucket->slot[at] >> 16];
        RECORD_IN_REGISTER(call);
        if (__builtin_expect(record_is_call(context, call, from), 1)) {
            record_met(bucket, at);
            return call;
        }
    }
    return NULL;
}

/* All callers of its base are as they were. words[0] is never the same (context.h). */
static inline bool record_is_stack(const struct context *context, const struct known_call *call)
{
    const struct unwind_word *word = call->outer;
    while (record_is_same_word(word)) {
        if (!record_is_same_word(--word) || !record_is_same_word(--word) || !record_is_same_word(--word))
            break;
        word--;
    }
    return word == context->words;
}

/* From a place that is known, below callers that are all the same; or NULL. The context's epoch is modules_epoch(). */
static inline struct known_call *record_known(struct context *context, const struct record_caller *from)
{
    uint32_t hash = record_hash(context, from);
    struct known_bucket *bucket = record_bucket(&context->call_index, hash);
    struct known_call *call = record_first_call(context, bucket, hash, from);
    if (!call)
        call = record_other_call(context, bucket, hash, from);
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

/* The same of a free, for which its nearest callers are enough. */
static inline const struct known_free *record_first_free(struct context *context,
                                                         const struct known_bucket *bucket, uint32_t hash,
                                                         const struct record_caller *from)
{
    uint32_t slot = bucket->slot[0];
    if (__builtin_expect((uint16_t)slot != (uint16_t)hash, 0))
        return NULL;
    const struct known_free *free = &context->frees[slot >> 16];
    RECORD_IN_REGISTER(free);
    return __builtin_expect(record_is_free(free, from), 1) ? free : NULL;
}

static inline const struct known_free *record_other_free(struct context *context, struct known_bucket *bucket,
                                                         uint32_t hash, const struct record_caller *from)
{
    for (unsigned slots = record_other_slots(bucket, hash); slots != 0; slots &= slots - 1) {
        unsigned at = (unsigned)__builtin_ctz(slots);
        const struct known_free *free = &context->frees[bucket->slot[at] >> 16];
        RECORD_IN_REGISTER(free);
        if (__builtin_expect(record_is_free(free, from), 1)) {
            record_met(bucket, at);
            return free;
        }
    }
    return NULL;
}

/* The context's epoch is modules_epoch(). */
static inline const struct known_free *record_known_free(struct context *context,
                                                         const struct record_caller *from)
{
    uint32_t hash = record_hash(context, from);
    struct known_bucket *bucket = record_bucket(&context->free_index, hash);
    const struct known_free *first = record_first_free(context, bucket, hash, from);
    return first ? first : record_other_free(context, bucket, hash, from);
}

/* From a place that is not known, or below other callers: the site of that stack, if it is to be had without keeping anything
 * else of it; or 0. The same of a free. The context's epoch is modules_epoch(). See capture_pass.c. (The caller by value: who
 * asks can then end with a jump to whoever makes the walk.) */
uint32_t record_pass_call(struct context *context, uint64_t ip, uint64_t rsp, uint64_t rbp)
    __attribute__((visibility("hidden")));
uint32_t record_pass_free(struct context *context, uint64_t ip, uint64_t rsp, uint64_t rbp)
    __attribute__((visibility("hidden")));

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

/* No block is left out, no stack is compared with another walk. */
static inline bool record_is_plain(void)
{
    return !__atomic_load_n(&record_hot.selective, __ATOMIC_RELAXED) && !record_hot.check_stacks;
}

/* Nothing is to be looked at but what is here, and what the context knows is still so. */
static inline bool record_is_plain_in(const struct context *context)
{
    return context != NULL && context->plain_epoch == modules_epoch();
}

/* The tally is the site's: it mostly is. */
static inline bool record_has_tally(const struct known_call *call)
{
    return call->tally->site == call->site;
}

/* A block from a call that is known, and that has its tally. true: record_tick_due() is to be called. */
static inline bool record_block_hot(struct context *context, struct site_tally *tally, void *entry,
                                    const void *p, size_t size, enum alloc_kind kind, uint8_t flags)
{
    record_fill(entry, tally->site, size, kind, flags);
    return tally_allocated_here(&context->tally, tally, p, size);
}

/* Allocated before this process was forked and began a trace of its own: it is not counted here. */
static inline bool record_is_uncounted(const struct ledger_entry *entry)
{
    return entry->generation < record_hot.counted_from;
}

/* What is different in an entry from one of a block that is live, counted, and has no kind and no flags: as the entry's
 * second word, but for the size. */
static inline uint32_t record_differs(const void *entry)
{
    uint64_t word;

    memcpy(&word, (const char *)entry + 8, sizeof(word));
    return (uint32_t)((word ^ __atomic_load_n(&record_hot.entry_word, __ATOMIC_RELAXED)) >> 16);
}
#define RECORD_DIFFERS_KIND(kind)   (uint32_t)(kind)
#define RECORD_DIFFERS_LIVE         0x00ffff00u /* state and generation */
#define RECORD_DIFFERS_FLAGS(flags) ((uint32_t)(flags) << 24)

/* The end of a block whose entry is LEDGER_LIVE, and which is counted already. */
static inline void record_mark_freed(struct ledger_entry *of, uint32_t freer)
{
    /* First: a fork or a copy in between must not find a live block whose generation is a part of something else. */
    __atomic_store_n(&of->state, LEDGER_FREED, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    of->free_site = freer;
}

/* Of a block that no other thread frees at this moment, unless the program is wrong; its entry is LEDGER_LIVE, and the
 * context's epoch is modules_epoch(). */
static inline void record_free_hot(struct context *context, void *entry, const void *p, uint32_t freer)
{
    struct ledger_entry *of = entry;

    tally_freed(&context->tally, of->site, p, ledger_size(of), record_is_uncounted(of));
    record_mark_freed(of, freer);
}

/* The same of a block that is counted in this tally, and smaller than 4 GiB. */
static inline void record_free_small(struct context *context, struct site_tally *tally, void *entry,
                                     const void *p, uint32_t freer)
{
    struct ledger_entry *of = entry;

    tally_freed_here(&context->tally, tally, p, of->size_low);
    record_mark_freed(of, freer);
}

#endif
