/* SPDX-License-Identifier: MIT */
/*
 * state.h - what there is once per process: the root, the locks, the lists of chunks, heaps and mappings.
 *
 * Lock order: the enum below, first to last. fork takes them all in that order (fork.c). Nothing is called
 * while one is held that could call the program.
 */
#ifndef HEAPTALLY_STATE_H
#define HEAPTALLY_STATE_H

#include <stdbool.h>

#include "allocator/allocator.h"
#include "allocator/atomics.h"
#include "allocator/layout.h"
#include "allocator/platform.h"

enum lock_rank {
    LOCK_SHARED_HEAP, /* the heap of threads that have none of their own */
    LOCK_PURGE,       /* held while the kernel takes memory back: nobody else purges, and fork waits */
    LOCK_ARENA,       /* slots, chunks, spans, mappings, the orphanage, the list of heaps */
    LOCK_METADATA,    /* metadata memory */
    LOCK_COUNT,
};

struct alloc_state {
    struct platform_lock lock[LOCK_COUNT];

    /* Set before the second thread exists, or by any thread at any time as one word. */
    bool keep_ledger;
    bool intercept;
    int64_t decay_ms;
    uint32_t no_spans; /* the word of an empty cache (span.h). arena */
    void (*on_corruption)(const void *block);
    void (*on_unlock)(void);
    void (*on_ledger_gone)(const struct alloc_ledger *ledger);

    /* All below: arena. */
    struct chunk **chunks; /* dense */
    uint8_t *chunk_room;   /* per chunk, an upper bound of its longest run of free slots, at most 255 */
    uint32_t chunk_count, chunk_capacity;
    uint32_t arena_bin[ARENA_SLOTS + 1]; /* arena ids by number of free slots; 0 = none */
    bool large_seen;                     /* there was a block past 32 KiB: it may be cached */
    uint64_t dirty_slots;                /* free and resident: zero means a tick has nothing to do */
    uint64_t next_tick_ms;               /* read by any thread without the lock, to see whether to take it */

    struct heap *all_heaps;
    struct heap *idle_heaps; /* no thread has them; reused before a new one */
    uint32_t idle_pages;     /* of empty pools that idle heaps keep */
    uint32_t stragglers;     /* pools that idle heaps still own */
    struct heap orphanage;   /* owns the pools of threads that ended */
    struct heap shared;      /* LOCK_SHARED_HEAP: serves threads that ended, and interrupted slow paths */

    void
        *deferred; /* spans and mappings whose free waits for a thread that may lock (nested.h). Any thread */

    struct mapping *unused_mappings;
    struct mapping *cached_mappings; /* newest first */
    uint64_t cached_mapping_bytes;
};

extern LAYOUT_HIDDEN struct alloc_state alloc_state;
extern LAYOUT_HIDDEN struct alloc_root alloc_root_data;

/* Every class list of every heap starts here, but the sentinel's: a pool without blocks, never written. */
extern LAYOUT_HIDDEN const struct pool alloc_empty_pool;
#define EMPTY_POOL ((struct pool *)(uintptr_t)&alloc_empty_pool)

/* Where the bins of no pool lead: the end of a list, with a link of 0 to read (layout.h). */
struct no_block {
    uint64_t unused, link;
};
extern LAYOUT_HIDDEN const struct no_block alloc_no_block __attribute__((aligned(16)));
#define NO_LIST(secret) ((uintptr_t)&alloc_no_block.link ^ (secret))

/* The empty heap of threads that have none: every request misses, and no pool is its own. */
extern LAYOUT_HIDDEN const struct heap alloc_sentinel_heap;
#define SENTINEL_HEAP ((struct heap *)(uintptr_t)&alloc_sentinel_heap)
/* alloc_own_heap of a thread that has ended. */
#define EXITED_HEAP ((struct heap *)(uintptr_t)&alloc_sentinel_heap)

/* The heap the fast paths use: the thread's own, or the sentinel. */
extern LAYOUT_HIDDEN __thread struct heap *alloc_heap __attribute__((tls_model("initial-exec")));
/* The same for those of ledgered.h: one of the two is the sentinel. */
extern LAYOUT_HIDDEN __thread struct heap *alloc_ledger_heap __attribute__((tls_model("initial-exec")));
/* The thread's own heap, NULL before attach, EXITED_HEAP after alloc_thread_exit(). */
extern LAYOUT_HIDDEN __thread struct heap *alloc_own_heap __attribute__((tls_model("initial-exec")));

/* Make the secret, once; cheap afterwards. */
void state_start(void);

void state_count_mapped(int64_t bytes); /* arena lock held */
void state_report_corruption(const void *block);

/* Functions that inline the fast paths are kept together: a program counter in [__start_heaptally_fast,
 * __stop_heaptally_seldom) tells that a signal interrupted one of them. Those that most programs do not call are at that
 * range's end, where they need not be resident (preload/sections.ld). */
#define ALLOC_FAST        __attribute__((section("heaptally_fast")))
#define ALLOC_FAST_SELDOM __attribute__((section("heaptally_seldom")))
/* What they are made of is never a function of its own, which would lie elsewhere (scripts/check-elf looks). */
#define ALLOC_INSIDE static inline __attribute__((always_inline))

/* What a thread must know of itself when a signal handler of its own runs, or has been left by a jump (nested.h).
 * Written by its own thread only, handlers on it included; a handler that returns leaves it as it found it. */
struct alloc_thread_state {
    uint32_t locks;   /* held or waited for; only zero is sure: ask state_holds_lock() */
    uint32_t nested;  /* handlers running that interrupted the allocator */
    bool no_fast;     /* alloc_thread_fast(false) */
    bool attaching;   /* between having no heap and having one */
    bool want_unlock; /* somebody waits for the last lock to be released */
    /* Of the innermost such handler, while nested: where its frames begin and the stack they are on; low is 0
     * when that is the stack of the thread. */
    uintptr_t frame, low, high;
};
extern LAYOUT_HIDDEN __thread struct alloc_thread_state alloc_thread
    __attribute__((tls_model("initial-exec")));

/* Some lock is held by this very thread: then a handler must do without all of them. */
bool state_holds_lock_exactly(void);
/* A handler interrupted a thread that holds locks, or waits for one: then the wake may have come that it waited for, and
 * while the handler runs, or if it never returns, nobody else would be woken. */
void state_pass_wakes(void);
/* A lock was released, and want_unlock is up. */
void state_unlocked(void);

static inline bool state_holds_lock(void)
{
    return unlikely(load_relaxed(&alloc_thread.locks) != 0) && state_holds_lock_exactly();
}

/* The count covers more than the holding: a handler on this thread, between any two instructions, may think a
 * lock held that is not, never the other way round. */
static inline void state_lock(enum lock_rank rank)
{
    store_relaxed(&alloc_thread.locks, alloc_thread.locks + 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    platform_lock(&alloc_state.lock[rank]);
}

static inline bool state_try_lock(enum lock_rank rank)
{
    store_relaxed(&alloc_thread.locks, alloc_thread.locks + 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (platform_try_lock(&alloc_state.lock[rank]))
        return true;
    store_relaxed(&alloc_thread.locks, alloc_thread.locks - 1);
    return false;
}

static inline void state_unlock(enum lock_rank rank)
{
    platform_unlock(&alloc_state.lock[rank]);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    store_relaxed(&alloc_thread.locks, alloc_thread.locks - 1);
    if (unlikely(alloc_thread.want_unlock))
        state_unlocked();
}

#endif
