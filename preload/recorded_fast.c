/* SPDX-License-Identifier: MIT */
/*
 * What most recorded calls are: a block of the thread's own heap, by a stack that is known (tracer/record/hot.h).
 *
 *   the last stack's words --> site, tally --> pop --> the block's entry
 *
 * They are leaves: what they do not serve is left as it was, and ends with a jump to the slow path (recorded.c), which sees
 * the same caller. "inside" and `outer` are up meanwhile, as there; and they are ALLOC_FAST functions, so that a handler that
 * cannot wait is served from elsewhere (signals.h).
 */
#include "preload/recorded_parts.h"

#include <string.h>

#define FAST __attribute__((noinline, flatten)) ALLOC_FAST_SELDOM

/* --- from here to there, handlers wait and nobody parks ---------------------------------------------------------- */

ALLOC_INSIDE void begin(void)
{
    thread_flags.outer = (uintptr_t)__builtin_frame_address(0);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread_flags.inside = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* true: something waits. Then parked() is due. */
ALLOC_INSIDE bool end(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread_flags.outer = 0;
    thread_flags.inside = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return __builtin_expect(thread_flags.parked != 0, 0);
}

static __attribute__((noinline)) void *parked(void *p)
{
    freeze_park_here();
    return p;
}

/* Nothing was done. What waits is let in by the slow path, as it leaves. */
ALLOC_INSIDE void back_out(void)
{
    (void)end();
}

/* A look at the clock is due (tracer/record/hot.h). The block's address is another value meanwhile: left over on the stack
 * below, which is dead, it could be taken for a reference later. */
static __attribute__((noinline)) void *tick(void *p, const struct known_call *call, void *entry)
{
    uintptr_t hidden = ~(uintptr_t)p;
    __asm__ volatile("" : "+r"(hidden));
    record_tick_due(call->tally, entry);
    __asm__ volatile("" : "+r"(hidden));
    return (void *)~hidden;
}

static __attribute__((noinline)) void *tick_and_return(void *p, const struct known_call *call, void *entry)
{
    p = tick(p, call, entry);
    if (end())
        freeze_park_here();
    return p;
}

/* The last free of a pool's. */
static __attribute__((noinline)) void settle(struct pool *pool)
{
    alloc_settle_ledgered(pool);
    if (end())
        freeze_park_here();
}

static __attribute__((noinline)) void *settle_and_return(struct pool *pool, void *p)
{
    settle(pool);
    return p;
}

/* The thread's context, or NULL: the slow path is asked. */
ALLOC_INSIDE struct context *plain_context(void)
{
    struct context *context = context_of_this_thread();
    bool plain = (thread_flags.inside | thread_flags.special) == 0;
    return __builtin_expect(plain && record_is_plain(context), 1) ? context : NULL;
}

/* The block's address may be left over in a vector register, where a look at a running thread would take it for a
 * reference. */
ALLOC_INSIDE void forget_vector(void)
{
    __asm__ volatile("pxor %%xmm0, %%xmm0" ::: "xmm0");
}

/* --- allocating --------------------------------------------------------------------------------------------------- */

enum way {
    WAY_FAST,
    WAY_ANEW,   /* the stack is not known */
    WAY_KNOWN,  /* the stack is known, but there is no block at hand */
    WAY_REMOTE, /* not a block of this thread's heap */
    WAY_SLOW,
};

struct taken {
    void *p, *entry;
    const struct known_call *call;
    bool is_due; /* tick_and_return() */
};

/* WAY_FAST: *ret is of a block, and begin() is in force. WAY_KNOWN: likewise, but for p and entry. Otherwise nothing was
 * done. */
ALLOC_INSIDE enum way take(const struct record_caller *caller, size_t size, enum alloc_kind kind,
                           struct taken *ret)
{
    struct context *context = plain_context();
    if (__builtin_expect(!context, 0))
        return WAY_SLOW;
    begin();
    void *entry, *p;
    const struct known_call *call = record_known(context, caller);
    if (__builtin_expect(!call, 0)) {
        back_out();
        return WAY_ANEW;
    }
    if (__builtin_expect(!record_has_tally(call), 0)) {
        back_out();
        return WAY_SLOW;
    }
    ret->call = call;
    if (__builtin_expect((p = alloc_take_ledgered(size, &entry)) == NULL, 0)) {
        if (alloc_takes_ledgered())
            return WAY_KNOWN;
        back_out();
        return WAY_SLOW;
    }
    ret->is_due = record_block_hot(context, call, entry, p, size, kind,
                                   delete_is_from_new(caller->ip) ? LEDGER_NEW : 0);
    ret->p = p;
    ret->entry = entry;
    return WAY_FAST;
}

/* The end of what begin() began, with a block in its place or none. Its time is that of the last look at the clock. */
ALLOC_INSIDE void *finish_slowly(void *p, void *entry, uint32_t site, size_t size, enum alloc_kind kind,
                                 uint64_t ip)
{
    if (p) {
        record_block(entry, p, site, size, kind, false);
        if (entry && delete_is_from_new(ip))
            ((struct ledger_entry *)entry)->flags |= LEDGER_NEW;
    }
    forget_vector();
    if (end())
        freeze_park_here();
    return p ? p : out_of_memory();
}

/* The same where the stack has to be taken; then the rest is as fast, if it can be. */
static __attribute__((noinline)) ALLOC_FAST_SELDOM void *allocate_anew(size_t size, enum alloc_kind kind)
{
    struct record_caller caller = record_caller();
    begin();
    uint32_t site = record_capture_anew(&caller);
    void *entry = NULL, *p = alloc_take_ledgered(size, &entry);
    /* What is not taken here is zeroed there, if it is not zero already. */
    if (p && kind == KIND_CALLOC)
        memset(p, 0, size);
    if (!p)
        p = allocate_block(kind, size, 0, &entry);
    return finish_slowly(p, entry, site, size, kind, caller.ip);
}

/* WAY_KNOWN: the list of its size class is empty, or it is larger than what comes from such lists. */
static __attribute__((noinline)) ALLOC_FAST_SELDOM void *allocate_known(size_t size, enum alloc_kind kind,
                                                                        const struct known_call *call)
{
    begin(); /* still; the frame is this one now */
    (void)record_tick();
    void *entry, *p = allocate_block(kind, size, 0, &entry);
    return finish_slowly(p, entry, call->site, size, kind, call->ip);
}

static __attribute__((noinline)) void *allocate_otherwise(size_t size, enum alloc_kind kind, enum way way)
{
    return way == WAY_ANEW ? allocate_anew(size, kind) : allocate(size, kind, 0);
}

ALLOC_INSIDE void *finish(const struct taken *taken)
{
    forget_vector();
    if (__builtin_expect(taken->is_due, 0))
        return tick_and_return(taken->p, taken->call, taken->entry);
    return end() ? parked(taken->p) : taken->p;
}

FAST void *malloc_recorded(size_t size)
{
    struct record_caller caller = record_caller();
    struct taken taken;
    enum way way = take(&caller, size, KIND_MALLOC, &taken);
    if (__builtin_expect(way != WAY_FAST, 0))
        return way == WAY_KNOWN ? allocate_known(size, KIND_MALLOC, taken.call)
                                : allocate_otherwise(size, KIND_MALLOC, way);
    return finish(&taken);
}

FAST void *calloc_recorded(size_t size)
{
    struct record_caller caller = record_caller();
    struct taken taken;
    enum way way = take(&caller, size, KIND_CALLOC, &taken);
    if (__builtin_expect(way != WAY_FAST, 0))
        return way == WAY_KNOWN ? allocate_known(size, KIND_CALLOC, taken.call)
                                : allocate_otherwise(size, KIND_CALLOC, way);
    memset(taken.p, 0, size);
    return finish(&taken);
}

/* --- freeing ------------------------------------------------------------------------------------------------------- */

/* Who frees, if that is asked for. false: it is not known. */
ALLOC_INSIDE bool name_freer(struct context *context, const struct record_caller *caller, uint32_t *ret_freer)
{
    *ret_freer = 0;
    if (!face_state.free_stacks)
        return true;
    const struct known_free *free = record_known_free(context, caller);
    if (__builtin_expect(!free, 0))
        return false;
    *ret_freer = free->site;
    return true;
}

/* A block of the thread's own that is live, and whose free is counted here; or a pool of NULL. */
ALLOC_INSIDE struct alloc_ledgered find_own(const struct context *context, const void *p)
{
    struct alloc_ledgered found = alloc_find_ledgered(p);
    if (__builtin_expect(found.pool && (((const struct ledger_entry *)found.entry)->state != LEDGER_LIVE ||
                                        context->epoch != modules_epoch()),
                         0))
        found.pool = NULL;
    return found;
}

/* The rest of a free, begin() is in force. */
ALLOC_INSIDE void give_back(const struct alloc_ledgered *found, void *p)
{
    if (__builtin_expect(!alloc_give_ledgered(found, p), 0))
        settle(found->pool);
    else if (end())
        freeze_park_here();
}

ALLOC_INSIDE enum way give(const struct record_caller *caller, void *p, enum release_call call)
{
    struct context *context = plain_context();
    if (__builtin_expect(!context, 0))
        return WAY_SLOW;
    struct alloc_ledgered found = find_own(context, p);
    uint32_t freer;
    if (__builtin_expect(!found.pool, 0))
        return WAY_REMOTE;
    if (__builtin_expect(delete_is_mismatch(call, found.entry), 0))
        return WAY_SLOW;
    begin();
    if (__builtin_expect(!name_freer(context, caller, &freer), 0)) {
        back_out();
        return WAY_ANEW;
    }
    record_free_hot(context, found.entry, p, freer);
    give_back(&found, p);
    return WAY_FAST;
}

/* Where the stack has to be taken. What give() has seen of p may be otherwise by now: the walk may have allocated itself, and a
 * wrong program frees it in another thread. */
static __attribute__((noinline)) ALLOC_FAST_SELDOM void free_anew(void *p, enum release_call call)
{
    struct record_caller caller = record_caller();
    struct context *context = context_of_this_thread();
    begin();
    uint32_t freer = record_capture_free(&caller);
    struct alloc_ledgered found = find_own(context, p);
    if (__builtin_expect(!found.pool, 0)) {
        back_out();
        release(p, call);
        return;
    }
    record_free_hot(context, found.entry, p, freer);
    give_back(&found, p);
}

/* Another thread's block, if it is one. That a third frees it meanwhile shows as its entry is marked. false: nothing was done.
 * `frame` is that of the function that calls this, which keeps nothing on the stack: so it ends with a jump. */
static __attribute__((noinline)) bool give_remote(const void *frame, void *p, enum release_call call)
{
    struct record_caller caller = record_caller_of(frame);
    struct context *context = plain_context();
    struct alloc_ledgered found = alloc_find_remote_ledgered(p);
    if (!context || !found.pool || ((const struct ledger_entry *)found.entry)->state != LEDGER_LIVE ||
        delete_is_mismatch(call, found.entry))
        return false;
    begin();
    uint32_t freer = face_state.free_stacks ? record_capture_free(&caller) : 0;
    if (!record_free(found.entry, p, freer, false)) {
        back_out();
        return false;
    }
    enum alloc_status status = alloc_give_remote_ledgered(&found, p) ? ALLOC_OK : alloc_free(p);
    if (end())
        freeze_park_here();
    if (__builtin_expect(status != ALLOC_OK, 0))
        release_wrong(p, call, status);
    return true;
}

static __attribute__((noinline)) void free_remote(void *p)
{
    if (!give_remote(__builtin_frame_address(0), p, RELEASE_FREE))
        release(p, RELEASE_FREE);
}

static __attribute__((noinline)) void delete_remote(void *p, uintptr_t form, uintptr_t a, uintptr_t b)
{
    if (!give_remote(__builtin_frame_address(0), p, RELEASE_DELETE))
        delete_slow(p, form, a, b);
}

FAST void free_recorded(void *p)
{
    struct record_caller caller = record_caller();
    enum way way = give(&caller, p, RELEASE_FREE);
    if (__builtin_expect(way == WAY_FAST, 1))
        return;
    if (way == WAY_ANEW)
        free_anew(p, RELEASE_FREE);
    else if (way == WAY_REMOTE)
        free_remote(p);
    else
        release(p, RELEASE_FREE);
}

FAST void delete_recorded(void *p, uintptr_t form, uintptr_t a, uintptr_t b)
{
    struct record_caller caller = record_caller();
    enum way way = give(&caller, p, RELEASE_DELETE);
    if (__builtin_expect(way == WAY_FAST, 1))
        return;
    if (way == WAY_ANEW)
        free_anew(p, RELEASE_DELETE);
    else if (way == WAY_REMOTE)
        delete_remote(p, form, a, b);
    else
        delete_slow(p, form, a, b);
}

/* --- resizing ------------------------------------------------------------------------------------------------------ */

/* The block becomes one of this call's, where it is. true, here and below: a look at the clock is due. */
ALLOC_INSIDE bool rename_block(struct context *context, const struct known_call *call,
                               struct ledger_entry *entry, void *p, size_t size)
{
    uint8_t flags = entry->flags & LEDGER_IGNORED;
    tally_freed(&context->tally, entry->site, NULL, ledger_size(entry), record_is_uncounted(entry));
    return record_block_hot(context, call, entry, p, size, KIND_REALLOC, flags);
}

/* It moved to q, whose entry is `to`. */
ALLOC_INSIDE bool move_block(struct context *context, const struct known_call *call,
                             struct ledger_entry *entry, struct ledger_entry *to, void *q, size_t size)
{
    uint8_t flags = entry->flags & LEDGER_IGNORED;
    record_free_hot(context, entry, NULL, call->site);
    return record_block_hot(context, call, to, q, size, KIND_REALLOC, flags);
}

FAST void *realloc_recorded(void *p, size_t size)
{
    struct record_caller caller = record_caller();
    struct context *context = plain_context();
    struct alloc_ledgered found;
    if (__builtin_expect(!context || !(found = find_own(context, p)).pool, 0))
        return reallocate(p, size);
    begin();
    /* Made now, if it is not there: later the table would move with the call's own tally in it. */
    if (!record_is_uncounted(found.entry))
        (void)tally_of(&context->tally, ((const struct ledger_entry *)found.entry)->site);
    const struct known_call *call = record_known(context, &caller);
    size_t capacity = found.pool->block_size;
    bool stays = alloc_fits_well(size, capacity);
    void *q = p, *entry = found.entry;
    if (__builtin_expect(
            !call || !record_has_tally(call) ||
                (!stays && (q = alloc_take_ledgered(alloc_size_to_grow(size, capacity), &entry)) == NULL),
            0)) {
        back_out();
        return reallocate(p, size);
    }
    if (stays) {
        if (__builtin_expect(rename_block(context, call, entry, p, size), 0))
            return tick_and_return(p, call, entry);
        return end() ? parked(p) : p;
    }
    memcpy(q, p, size < capacity ? size : capacity);
    if (__builtin_expect(move_block(context, call, found.entry, entry, q, size), 0))
        q = tick(q, call, entry);
    forget_vector();
    if (__builtin_expect(!alloc_give_ledgered(&found, p), 0))
        return settle_and_return(found.pool, q);
    return end() ? parked(q) : q;
}
