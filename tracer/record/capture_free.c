/* SPDX-License-Identifier: MIT */
/* The stack of a free, of which the innermost frames are enough; see capture.h. */
#include "tracer/record/capture_walk.h"

#include <errno.h>

static INLINE void walk_few(struct walk *walk)
{
    struct fresh_frame *frame = walk->context->fresh;

    while (walk->end == WALK_GOES_ON) {
        if (__builtin_expect(walk->ip == 0, 0)) {
            walk->end = WALK_LAST;
            return;
        }
        walk->fresh++;
        if (walk->fresh == RECORD_FREE_DEPTH) {
            capture_came_to(frame, walk);
            walk->end = WALK_CUT;
            return;
        }
        step_from(frame++, walk);
    }
}

static COLD uint32_t make_site(struct context *context, uint32_t count, uint64_t path, uint32_t end)
{
    uint32_t site = end;
    struct capture_home home = {.end = 0};

    while (count-- > 0 && site != SITE_END_NO_STACK) {
        uint64_t ip = context->fresh[count].ip + (context->fresh[count].state & FRAME_EXACT);

        path = sites_path(path, ip);
        site = capture_site_of(context, &home, path, ip, site);
    }
    return site;
}

static INLINE enum site_end end_of(const struct walk *walk)
{
    return walk->end == WALK_CUT    ? SITE_END_CUT
           : walk->end == WALK_LAST ? SITE_END_COMPLETE
                                    : SITE_END_NO_INFO;
}

static INLINE uint64_t path_of(const struct walk *walk)
{
    const struct fresh_frame *fresh = walk->context->fresh;
    uint64_t path = sites_path_of_end(end_of(walk));

    for (uint32_t i = walk->fresh; i-- > 0;)
        path = sites_path(path, fresh[i].ip + (fresh[i].state & FRAME_EXACT));
    return path;
}

static INLINE uint32_t site_of(const struct walk *walk, uint64_t path)
{
    uint32_t site = sites_known(path), end = end_of(walk);
    return __builtin_expect(site != 0, 1)
               ? site
               : make_site(walk->context, walk->fresh, sites_path_of_end(end), end);
}

/* The words that led to `frame`, those of them that were read one by one beginning with `from`, become the free's next ones.
 * false: there is no room. */
static INLINE bool keep_words(struct known_free *free, const struct context *context,
                              const struct fresh_frame *frame, uint32_t from, bool needs_rbp)
{
    uint32_t count = (frame->state & FRAME_PLAIN) != 0 ? 2 : FRAME_WORDS(frame->state) - from;
    struct unwind_word *word = &free->words[free->count];

    if (free->count + count > FREE_WORDS)
        return false;
    free->count = (uint8_t)(capture_put_words(word, context, frame, from, needs_rbp) - free->words);
    return true;
}

/* The words that led outward, but rbp's where no step outside begins with it; into an entry that is no one's meanwhile. */
static INLINE bool keep_way(struct known_free *free, const struct walk *walk)
{
    const struct fresh_frame *fresh = walk->context->fresh;
    bool needs[RECORD_FREE_DEPTH];

    needs[walk->fresh - 1] = (fresh[walk->fresh - 1].state & FRAME_FROM_RBP) != 0;
    for (uint32_t i = walk->fresh - 1; i-- > 0;)
        needs[i] = (fresh[i].state & FRAME_FROM_RBP) != 0 ||
                   (needs[i + 1] && (fresh[i].state & FRAME_KEEPS_RBP) != 0);
    free->needs_rbp = needs[0];
    free->count = 0;
    for (uint32_t i = 1; i < walk->fresh; i++) {
        if (!keep_words(free, walk->context, &fresh[i], FRAME_WORDS(fresh[i - 1].state), needs[i]))
            return false;
    }
    if (walk->end == WALK_CUT)
        return true;
    struct fresh_frame end;
    capture_came_to(&end, walk);
    return keep_words(free, walk->context, &end, FRAME_WORDS(fresh[walk->fresh - 1].state), false);
}

/* As with calls (capture.c). */
static INLINE bool is_told_apart(struct context *context, const struct record_caller *from, uint32_t hash,
                                 const struct known_free *free)
{
    const struct known_bucket *bucket = record_bucket(&context->free_index, hash);

    for (unsigned i = 0; i < KNOWN_SLOTS; i++) {
        const struct known_free *other = &context->frees[bucket->slot[i] >> 16];

        if ((uint16_t)bucket->slot[i] == (uint16_t)hash && other->ip == from->ip && other->rsp == from->rsp)
            return capture_tell_apart(context, from, free->words, other->words);
    }
    return false;
}

static INLINE struct known_free *keep(const struct walk *walk, const struct record_caller *from,
                                      uint32_t *ret_hash)
{
    struct context *context = walk->context;
    struct known_free *free = &context->frees[capture_next_to_keep(&context->free_index)];

    if (!keep_way(free, walk))
        return NULL;
    for (uint32_t i = free->count; i < FREE_WORDS_LEAST; i++)
        free->words[i] = capture_always(context);
    free->ip = from->ip;
    free->rsp = from->rsp;
    free->rbp = from->rbp;
    *ret_hash = record_hash(context, from);
    return is_told_apart(context, from, *ret_hash, free) ? NULL : free;
}

static INLINE void settle(struct context *context, struct known_free *free, uint32_t site, uint32_t hash)
{
    free->site = site;
    capture_kept(&context->free_index, (uint32_t)(free - context->frees), hash);
}

static INLINE uint32_t capture_once(struct context *context, const struct record_caller *from)
{
    struct walk walk;

    begin(&walk, context, from);
    bool from_library = walk.rsp != from->rsp;
    walk_few(&walk);
    if (walk.fresh == 0 || walk.end == WALK_FAILED)
        return 0;
    uint64_t path = path_of(&walk);
    sites_prefetch(path);
    uint32_t hash = 0;
    struct known_free *free = from_library ? NULL : keep(&walk, from, &hash);
    uint32_t site = site_of(&walk, path);
    if (free)
        settle(context, free, site, hash);
    return site;
}

static INLINE uint32_t capture_now(struct context *context, const struct record_caller *from)
{
    uint32_t site;

    (void)refresh(context);
    do
        site = capture_once(context, from);
    while (refresh(context));
    return site;
}

uint32_t capture_freer(struct context *context, const struct record_caller *from)
{
    (void)refresh(context);
    const struct known_free *free = record_known_free(context, from);
    if (free)
        return free->site;
    uint32_t site = record_pass_free(context, from->ip, from->rsp, from->rbp);
    return __builtin_expect(site != 0, 1) ? site : capture_now(context, from);
}

/* --- record.h ------------------------------------------------------------------------------------------------- */

/* What could not be had so is had by a whole walk. */
static INLINE uint32_t or_slowly(struct context *context, uint32_t site)
{
    if (__builtin_expect(site != 0, 1))
        return site;
    int saved = errno;
    site = capture_in_full(context, RECORD_FREE_DEPTH, true);
    errno = saved;
    return site;
}

uint32_t record_capture_free(const struct record_caller *from)
{
    struct context *context = context_get();

    return context ? or_slowly(context, capture_freer(context, from)) : (uint32_t)SITE_END_NO_STACK;
}

uint32_t record_capture_free_anew(const struct record_caller *from)
{
    struct context *context = context_get();

    return context ? or_slowly(context, capture_now(context, from)) : (uint32_t)SITE_END_NO_STACK;
}
