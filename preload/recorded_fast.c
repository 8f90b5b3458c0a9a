/* SPDX-License-Identifier: MIT */
/*
 * What most recorded calls are: a block of the thread's own heap, by a stack that is known (tracer/record/hot.h).
 *
 *   the last stack's words --> site, tally --> pop --> the block's entry
 *
 * What they do not serve is left as it was, and ends with a jump to the slow path (recorded.c), which sees the same
 * caller. "inside" and `outer` are up meanwhile, as there; and they are ALLOC_FAST functions, so that a handler that
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

/* A look at the clock is due (tracer/record/hot.h). The block's address is another value meanwhile: left over on the stack
 * below, which is dead, it could be taken for a reference later. */
static __attribute__((noinline)) void *tick(void *p, struct site_tally *tally, void *entry)
{
    uintptr_t hidden = ~(uintptr_t)p;
    __asm__ volatile("" : "+r"(hidden));
    record_tick_due(tally, entry);
    __asm__ volatile("" : "+r"(hidden));
    return (void *)~hidden;
}

static __attribute__((noinline)) void *tick_and_return(void *p, struct site_tally *tally, void *entry)
{
    p = tick(p, tally, entry);
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
    /* Not as one word: it would have to wait for the last call's store to half of it. */
    bool plain = (thread_flags.inside | thread_flags.special) == 0 && record_is_plain_in(context);
    return __builtin_expect(plain, 1) ? context : NULL;
}

/* The block's address may be left over in a vector register, where a look at a running thread would take it for a
 * reference. */
ALLOC_INSIDE void forget_vector(void)
{
    __asm__ volatile("pxor %%xmm0, %%xmm0" ::: "xmm0");
}

/* --- allocating --------------------------------------------------------------------------------------------------- */

/* The end of what begin() began, with a block in its place or none. Its time is that of the last look at the clock. */
ALLOC_INSIDE void *finish_slowly(void *p, void *entry, uint32_t site, size_t size, enum alloc_kind kind,
                                 uint64_t ip)
{
    if (p) {
        record_block(entry, p, site, size, kind, false);
        if (entry && record_is_from_new(ip))
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

/* The stack is known, but the list of its size class is empty, or the block is larger than what comes from such lists. */
static __attribute__((noinline)) ALLOC_FAST_SELDOM void *allocate_known(size_t size, enum alloc_kind kind,
                                                                        uint32_t site)
{
    struct record_caller caller = record_caller();
    begin(); /* still; the frame is this one now */
    (void)record_tick();
    void *entry, *p = allocate_block(kind, size, 0, &entry);
    return finish_slowly(p, entry, site, size, kind, caller.ip);
}

static __attribute__((noinline)) void *allocate_slowly(size_t size, enum alloc_kind kind)
{
    (void)end(); /* what waits is let in by the slow path, as it leaves */
    return allocate(size, kind, 0);
}

/* The site is known. From begin() to end(). */
ALLOC_INSIDE void *allocate_at(struct context *context, uint32_t site, struct site_tally *tally, size_t size,
                               enum alloc_kind kind, uint8_t flags)
{
    void *entry, *p = alloc_take_ledgered(size, &entry);
    if (__builtin_expect(p == NULL, 0))
        return alloc_takes_ledgered() ? allocate_known(size, kind, site) : allocate_slowly(size, kind);
    bool is_due = record_block_hot(context, tally, entry, p, size, kind, flags);
    if (kind == KIND_CALLOC)
        memset(p, 0, size);
    forget_vector();
    if (__builtin_expect(is_due, 0))
        return tick_and_return(p, tally, entry);
    return end() ? parked(p) : p;
}

/* The call is not known, or its callers are others; begin() is in force, the frame is this one now. */
static __attribute__((noinline)) ALLOC_FAST_SELDOM void *allocate_passing(size_t size, enum alloc_kind kind)
{
    struct record_caller caller = record_caller();
    begin();
    struct context *context = context_of_this_thread();
    uint32_t site = record_pass_call(context, caller.ip, caller.rsp, caller.rbp);
    struct site_tally *tally = site != 0 ? tally_of(&context->tally, site) : NULL;
    if (__builtin_expect(!tally, 0))
        return allocate_anew(size, kind);
    return allocate_at(context, site, tally, size, kind, record_is_from_new(caller.ip) ? LEDGER_NEW : 0);
}

/* The place of the call is known, of its stack the rest is to be looked at. From begin() to end(). */
ALLOC_INSIDE void *allocate_from(struct context *context, const struct known_call *call, size_t size,
                                 enum alloc_kind kind)
{
    if (__builtin_expect(!record_is_stack(context, call), 0))
        return allocate_passing(size, kind);
    struct site_tally *tally = call->tally;
    if (__builtin_expect(tally->site != call->site, 0))
        return allocate_slowly(size, kind);
    return allocate_at(context, call->site, tally, size, kind, call->flags & LEDGER_NEW);
}

/* Of all calls with this hash the first is another. In two functions, so that the one that most calls are through with has
 * nothing to save. */
static __attribute__((flatten, noinline)) ALLOC_FAST_SELDOM void *
allocate_other(size_t size, enum alloc_kind kind, struct context *context, struct known_bucket *bucket,
               uint32_t hash)
{
    struct record_caller caller = record_caller();
    const struct known_call *call = record_other_call(context, bucket, hash, &caller);
    return __builtin_expect(call != NULL, 1) ? allocate_from(context, call, size, kind)
                                             : allocate_passing(size, kind);
}

ALLOC_INSIDE void *allocate_fast(const struct record_caller *caller, size_t size, enum alloc_kind kind)
{
    struct context *context = plain_context();
    if (__builtin_expect(!context, 0))
        return allocate(size, kind, 0);
    begin();
    uint32_t hash = record_hash(context, caller);
    struct known_bucket *bucket = record_bucket(&context->call_index, hash);
    const struct known_call *call = record_first_call(context, bucket, hash, caller);
    return __builtin_expect(call != NULL, 1) ? allocate_from(context, call, size, kind)
                                             : allocate_other(size, kind, context, bucket, hash);
}

FAST void *malloc_recorded(size_t size)
{
    struct record_caller caller = record_caller();
    return allocate_fast(&caller, size, KIND_MALLOC);
}

FAST void *calloc_recorded(size_t size)
{
    struct record_caller caller = record_caller();
    return allocate_fast(&caller, size, KIND_CALLOC);
}

/* --- freeing ------------------------------------------------------------------------------------------------------- */

/* The rest of a free, begin() is in force. */
ALLOC_INSIDE void give_back(const struct alloc_ledgered *found, void *p)
{
    if (__builtin_expect(!alloc_give_ledgered(found, p), 0))
        settle(found->pool);
    else if (end())
        freeze_park_here();
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

/* Where the stack has to be taken, or the block is none of which most are. What was seen of p before may be otherwise by now:
 * the walk may have allocated itself, and a wrong program frees it in another thread. */
ALLOC_INSIDE void free_by(void *p, enum release_call call, const struct record_caller *caller,
                          uint32_t (*capture)(const struct record_caller *from))
{
    struct context *context = context_of_this_thread();
    begin();
    uint32_t freer = face_state.free_stacks ? capture(caller) : 0;
    struct alloc_ledgered found = find_own(context, p);
    if (__builtin_expect(!found.pool || delete_is_mismatch(call, found.entry), 0)) {
        (void)end();
        release(p, call);
        return;
    }
    record_free_hot(context, found.entry, p, freer);
    give_back(&found, p);
}

static __attribute__((noinline)) ALLOC_FAST_SELDOM void free_anew(void *p, enum release_call call)
{
    struct record_caller caller = record_caller();
    free_by(p, call, &caller, record_capture_free);
}

/* The same where the stack was looked for, and is to be kept. */
static __attribute__((noinline)) ALLOC_FAST_SELDOM void free_walked(void *p, enum release_call call)
{
    struct record_caller caller = record_caller();
    free_by(p, call, &caller, record_capture_free_anew);
}

/* The rest, where the tally of the block's site lies elsewhere. */
static __attribute__((noinline)) ALLOC_FAST_SELDOM void free_displaced(void *p, struct context *context,
                                                                       struct pool *pool, uint32_t freer)
{
    struct alloc_ledgered found = alloc_found_ledgered(pool, p);
    begin();
    record_free_hot(context, found.entry, p, freer);
    give_back(&found, p);
}

/* From begin() to end(). */
ALLOC_INSIDE void free_from(const struct alloc_ledgered *found, void *p, struct context *context,
                            uint32_t freer)
{
    uint32_t site = ((const struct ledger_entry *)found->entry)->site;
    struct site_tally *tally = tally_place(&context->tally, site);
    if (__builtin_expect(tally->site != site, 0)) {
        free_displaced(p, context, found->pool, freer);
        return;
    }
    record_free_small(context, tally, found->entry, p, freer);
    give_back(found, p);
}

/* Of all frees with this hash the first is another; see allocate_other(). begin() is in force. */
static __attribute__((flatten, noinline)) ALLOC_FAST_SELDOM void free_other(void *p, enum release_call call,
                                                                            struct context *context,
                                                                            struct known_bucket *bucket,
                                                                            uint32_t hash, struct pool *pool)
{
    struct record_caller caller = record_caller();
    const struct known_free *free = record_other_free(context, bucket, hash, &caller);
    uint32_t freer = __builtin_expect(free != NULL, 1)
                         ? free->site
                         : record_pass_free(context, caller.ip, caller.rsp, caller.rbp);
    if (__builtin_expect(freer == 0, 0)) {
        free_walked(p, call);
        return;
    }
    struct alloc_ledgered found = alloc_found_ledgered(pool, p);
    if (__builtin_expect(((const struct ledger_entry *)found.entry)->state != LEDGER_LIVE, 0)) {
        free_anew(p, call); /* meanwhile, by a wrong program's other thread */
        return;
    }
    free_from(&found, p, context, freer);
}

/* One of those that most are: recorded by this process, live, and allocated as it is freed. */
ALLOC_INSIDE bool is_plain_block(const void *entry, enum release_call call)
{
    uint32_t differs = record_differs(entry);
    return call == RELEASE_FREE
               ? (differs & (RECORD_DIFFERS_LIVE | RECORD_DIFFERS_FLAGS(LEDGER_NEW))) == 0
               : (differs & (RECORD_DIFFERS_LIVE | 0xffu)) == RECORD_DIFFERS_KIND(KIND_MALLOC);
}

enum way {
    WAY_DONE,
    WAY_ANEW,   /* free_anew() is asked */
    WAY_REMOTE, /* not a block of this thread's heap, by a first look */
    WAY_SLOW,
};

ALLOC_INSIDE enum way give(const struct record_caller *caller, void *p, enum release_call call)
{
    struct context *context = plain_context();
    if (__builtin_expect(!context, 0))
        return WAY_SLOW;
    struct alloc_ledgered found = alloc_find_ledgered(p);
    if (__builtin_expect(!found.pool, 0))
        return WAY_REMOTE;
    if (__builtin_expect(!is_plain_block(found.entry, call), 0))
        return WAY_ANEW;
    begin();
    uint32_t freer = 0;
    if (__builtin_expect(face_state.free_stacks, 1)) {
        uint32_t hash = record_hash(context, caller);
        struct known_bucket *bucket = record_bucket(&context->free_index, hash);
        const struct known_free *free = record_first_free(context, bucket, hash, caller);
        if (__builtin_expect(!free, 0)) {
            free_other(p, call, context, bucket, hash, found.pool);
            return WAY_DONE;
        }
        freer = free->site;
    }
    free_from(&found, p, context, freer);
    return WAY_DONE;
}

/* Another thread's block, or one of the thread's own that takes a longer look. That another frees it meanwhile shows as its
 * entry is marked. false: nothing was done. `frame` is that of the function that calls this, which keeps nothing on the stack:
 * so it ends with a jump. */
static __attribute__((noinline)) bool give_remote(const void *frame, void *p, enum release_call call)
{
    struct record_caller caller = record_caller_of(frame);
    struct context *context = plain_context();
    struct alloc_ledgered found = alloc_find_remote_ledgered(p);
    if (!context || !found.pool || ((const struct ledger_entry *)found.entry)->state != LEDGER_LIVE ||
        delete_is_mismatch(call, found.entry))
        return false;
    begin();
    uint32_t freer = 0;
    if (face_state.free_stacks) {
        freer = record_capture_free(&caller);
        found = alloc_find_remote_ledgered(p); /* as in free_by() */
    }
    if (!found.pool || !record_free(found.entry, p, freer, false)) {
        (void)end();
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
    if (p != NULL && !give_remote(__builtin_frame_address(0), p, RELEASE_FREE))
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
    if (__builtin_expect(way == WAY_DONE, 1))
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
    if (__builtin_expect(way == WAY_DONE, 1))
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
    return record_block_hot(context, call->tally, entry, p, size, KIND_REALLOC, flags);
}

/* It moved to q, whose entry is `to`. */
ALLOC_INSIDE bool move_block(struct context *context, const struct known_call *call,
                             struct ledger_entry *entry, struct ledger_entry *to, void *q, size_t size)
{
    uint8_t flags = entry->flags & LEDGER_IGNORED;
    record_free_hot(context, entry, NULL, call->site);
    return record_block_hot(context, call->tally, to, q, size, KIND_REALLOC, flags);
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
        (void)end();
        return reallocate(p, size);
    }
    if (stays) {
        if (__builtin_expect(rename_block(context, call, entry, p, size), 0))
            return tick_and_return(p, call->tally, entry);
        return end() ? parked(p) : p;
    }
    memcpy(q, p, size < capacity ? size : capacity);
    if (__builtin_expect(move_block(context, call, found.entry, entry, q, size), 0))
        q = tick(q, call->tally, entry);
    forget_vector();
    if (__builtin_expect(!alloc_give_ledgered(&found, p), 0))
        return settle_and_return(found.pool, q);
    return end() ? parked(q) : q;
}
