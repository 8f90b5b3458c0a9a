/* SPDX-License-Identifier: MIT */
/*
 * allocator.h - the pure allocator, as its user (preload/, the unit tests) sees it.
 *
 *      size          served from                          described by (all of it out of line)
 *   1 B .. 32 KiB    a pool: equal blocks of one class    struct pool in the chunk's head
 *   .. 2 MiB         a span: a run of whole 16 KiB slots  struct pool in the chunk's head (state span)
 *   above            a mapping: one mmap, 4 MiB-aligned   struct mapping in metadata memory
 *
 *   chunk (4 MiB, 4 MiB-aligned) = 16 arenas (256 KiB) = 256 slots (16 KiB)
 *   +--------------------+----------+----------+-- ... --+
 *   | head: descriptors  | arena 0' | arena 1  |         |   head takes the first slots of arena 0
 *   +--------------------+----------+----------+-- ... --+
 *
 * Pure: no settings, no stdio, no exported malloc, no program state. It keeps no opinion on what its user
 * records; for that there is the ledger: ALLOC_LEDGER_BYTES opaque bytes per block, beside the pool and never
 * in the block. Everything a reader of a frozen process needs starts at struct alloc_root (layout.h, walk.h).
 *
 * Errors are values. No function here prints, aborts or sets errno; none calls the C library's allocator.
 *
 * Threads: every function may be called by any thread at any time unless it says otherwise. A thread is
 * attached on its first slow path; alloc_thread_exit() detaches it and leaves its pools for adoption.
 */
#ifndef HEAPTALLY_ALLOCATOR_H
#define HEAPTALLY_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALLOC_LEDGER_BYTES      16
#define ALLOC_POOL_SIZE_MAX     ((size_t)32 << 10) /* what is larger is a span or a mapping */
#define ALLOC_MAPPING_ALIGNMENT ((size_t)4 << 20)  /* at least; no span starts there */

enum alloc_status {
    ALLOC_OK,
    ALLOC_FOREIGN,     /* the address is in no chunk and no mapping of ours */
    ALLOC_INTERIOR,    /* ours, but not the start of a block */
    ALLOC_DOUBLE_FREE, /* the start of a block that is free */
    ALLOC_CORRUPT,     /* free memory or a list was overwritten */
};

/* What the address map knows of an address. */
struct alloc_block {
    void *start;
    size_t capacity; /* usable bytes */
    void *ledger;    /* ALLOC_LEDGER_BYTES bytes of the user's, or NULL when none is kept for this block */
};

/* --- allocating ----------------------------------------------------------------------------------------- */

/* A block of at least `size` bytes (0 counts as 1), 16-byte aligned; NULL when memory is out or size is over
 * PTRDIFF_MAX. Contents are undefined, except for the _zeroed form. Ledger entries arrive zeroed. */
void *alloc_malloc(size_t size);
void *alloc_malloc_zeroed(size_t size);

/* alignment: a power of two up to 1 GiB (more is NULL). */
void *alloc_malloc_aligned(size_t alignment, size_t size);

/* As realloc(3) for p != NULL, size > 0. On success *ret_block is the block, moved or not, its ledger entry
 * kept when it stayed in place and zeroed when it moved. On any failure *p is untouched: ALLOC_OK with
 * *ret_block NULL means memory is out; other values say what p is. */
enum alloc_status alloc_realloc(void *p, size_t size, void **ret_block) __attribute__((nonnull));

/* Free p (not NULL). Anything but ALLOC_OK changes nothing. The entry in the ledger is left as it is, so that
 * the user can still read who had the block. */
enum alloc_status alloc_free(void *p);

/* `tell` is called, in the thread that saw it and with no lock held, when a list of free blocks turns out to
 * have been written over; block is the free block that was. When it returns, that list is given up: its
 * blocks are never handed out again. NULL (the default): just that, silently. */
void alloc_on_corruption(void (*tell)(const void *block));

/* --- asking --------------------------------------------------------------------------------------------- */

/* The live block that starts at p. ALLOC_INTERIOR also fills *ret with the block around p. Never dereferences
 * memory that is not ours. Double frees are told only as far as free memory shows them. */
enum alloc_status alloc_find(const void *p, struct alloc_block *ret);

size_t alloc_usable_size(const void *p); /* 0 for anything that is not the start of a live block */
bool alloc_is_ours(const void *p);       /* the address lies in a chunk or mapping of ours */

/* --- the user's ledger ---------------------------------------------------------------------------------- */

/* From now on every block handed out has a ledger entry. Call before the second thread exists. */
void alloc_keep_ledger(void);

/* The entries of a pool that is about to be given back, `count` of them, those of the blocks at first, first +
 * block_size, ... None is of a live block. */
struct alloc_ledger {
    const unsigned char *entries;
    void *first;
    size_t block_size;
    uint32_t count;
};
/* `tell` is called before they go, with locks held: it may not allocate, nor wait. NULL (the default): nothing. */
void alloc_on_ledger_gone(void (*tell)(const struct alloc_ledger *ledger));

/* While on, alloc_malloc_fast() and alloc_free_fast() (fast.h) miss in every thread, so that their callers'
 * slow paths see every call; costs nothing while off. Call before the second thread exists. */
void alloc_intercept(bool on);

/* --- threads, fork -------------------------------------------------------------------------------------- */

/* The calling thread will run no more program code that should use its own heap: its pools are left for
 * adoption. Calls after it still work (through a shared heap under a lock) and never attach the thread again.
 */
void alloc_thread_exit(void);

/* With false, the calling thread's fast paths miss from now on, until it says true. */
void alloc_thread_fast(bool on);

/* To be called round fork() by the forking thread. In the child the other threads' heaps are taken over,
 * their counts recomputed from their lists (a dead thread may have been between two stores). */
void alloc_fork_prepare(void);
void alloc_fork_parent(void);
void alloc_fork_child(void);

/* --- signal handlers ------------------------------------------------------------------------------------ */

/* A handler may call everything above, provided that one which interrupted an inline fast path (fast.h), or any
 * function here, in its own thread runs between alloc_nested_begin() and alloc_nested_end(). Without that, a
 * handler that interrupted a slow path is served all the same; one that interrupted a fast path is not. See
 * nested.h. All are async-signal-safe; the bracket itself lies in the section of the fast paths (fast.h). */

/* Where a handler's frames are: all below `frame`, on the stack [low, high) when it has one of its own, else
 * low == 0. */
struct alloc_stack {
    uintptr_t frame, low, high;
};
struct alloc_nested {
    struct heap *heap, *ledger_heap;
    struct alloc_stack outer;
};

/* While a lock is held: `call` alloc_on_unlock()'s function, in this thread, as the last one is released. */
void alloc_want_unlock(void);
void alloc_on_unlock(void (*call)(void));

bool alloc_is_interrupted(void); /* this thread is in a slow path, or in a handler inside the bracket */
bool alloc_holds_lock(void);     /* this thread holds a lock of the allocator */
void alloc_nested_begin(const struct alloc_stack *stack, struct alloc_nested *ret);
void alloc_nested_end(const struct alloc_nested *nested);

/* From outside any handler's bracket as far as the caller knows, at the start of a slow path: has the handler
 * been left by siglongjmp? Then the thread gets another heap. */
enum alloc_healing {
    ALLOC_NOT_LEFT,
    ALLOC_HEALED,
    ALLOC_LEFT_LOCKED, /* what it interrupted held a lock, for ever: the emergency path serves this thread */
};
enum alloc_healing alloc_nested_heal(void);

/* --- giving back ---------------------------------------------------------------------------------------- */

/* Empty pools, arenas and spans are returned to the kernel `ms` after they became empty; 0 at once, -1 never.
 */
void alloc_set_decay(int64_t ms);

/* Return everything that is empty now. true when something was returned. */
bool alloc_purge(void);

/* --- figures -------------------------------------------------------------------------------------------- */

/* Equation: mapped = live_capacity + free_in_pools + cached + purged + metadata_in_chunks (see stats.c). */
struct alloc_stats {
    uint64_t live_blocks, live_capacity; /* blocks the program holds, in usable bytes */
    uint64_t free_in_pools;              /* free blocks inside pools that are in use */
    uint64_t cached;                     /* empty, still resident */
    uint64_t purged;                     /* address space held, memory returned */
    uint64_t metadata;                   /* descriptors, heaps, ledgers, address map */
    uint64_t mapped;                     /* address space taken from the kernel for chunks and mappings */
    uint64_t chunks, arenas_in_use, pools, spans, mappings, heaps;
    uint64_t mapping_bytes; /* of live_capacity, in mappings */
    uint64_t mapped_peak;
};

/* Recounts from the ground by walking everything, under the allocator's locks; other threads may go on and
 * the figures are then of no single instant. */
void alloc_stats_read(struct alloc_stats *ret);

/* Check every structure. `complain` gets one line per breach; returns the number of breaches. Exact only when
 * no other thread allocates. */
size_t alloc_verify(void (*complain)(void *ctx, const char *line), void *ctx);

/* Where a reader of this process starts (layout.h). Constant. */
const struct alloc_root *alloc_root(void);

#endif
