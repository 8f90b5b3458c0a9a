/* SPDX-License-Identifier: MIT */
/*
 * The slow paths of the exported functions: every call comes here while recording, and otherwise those that
 * the fast paths cannot serve.
 *
 * A recorded allocation captures its stack first and allocates then: nothing of the allocator's is held while
 * the unwinder runs. "inside" (thread.h) is up for the whole of it, so that a signal handler's malloc, or the
 * unwinder's own, is served but not recorded, and so that a thread is never parked half-way: what a frozen
 * copy sees is a block with its entry or no block.
 */
#include "preload/face.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/account.h"
#include "preload/foreign.h"
#include "preload/misuse.h"
#include "preload/thread.h"
#include "tracer/record/record.h"

static inline void face_enter(void)
{
    if (__builtin_expect(!face_state.started, 0))
        start_first_call();
    if (__builtin_expect(thread_face.life == THREAD_FRESH, 0))
        thread_arm();
}

/* A stack may be taken: the outermost entry, of a thread that has not given up its capture stack. */
static inline bool may_capture(bool outermost)
{
    return outermost && thread_face.life != THREAD_ENDED;
}

static inline void *serve(enum alloc_kind kind, size_t size, size_t alignment)
{
    if (kind == KIND_CALLOC)
        return alloc_malloc_zeroed(size);
    if (kind == KIND_ALIGNED)
        return alloc_malloc_aligned(alignment, size);
    return alloc_malloc(size);
}

/* Signals wait while a recorded call is inside the allocator: a handler that allocates would find its own thread's
 * locks taken. Two system calls are little beside a walk of the stack. Faults stay open: a program may live by them. */
#define BIT(number) (1ull << ((number)-1))
static const uint64_t held_signals =
    ~(BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGILL) | BIT(SIGFPE) | BIT(SIGTRAP) | BIT(SIGSYS));

/* The mask to go back to; all ones (no process has that) when the kernel, or a filter, refused. */
static inline uint64_t signals_hold(void)
{
    int saved = errno;
    uint64_t mask;
    if (syscall(SYS_rt_sigprocmask, SIG_BLOCK, &held_signals, &mask, sizeof(mask)) != 0) {
        mask = UINT64_MAX;
        errno = saved;
    }
    return mask;
}

static inline void signals_release(uint64_t mask)
{
    if (mask != UINT64_MAX)
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

static void note_block(void *p, uint32_t site, size_t size, enum alloc_kind kind)
{
    struct alloc_block block = {0};
    alloc_find(p, &block);
    record_block(block.ledger, site, size, kind);
    if (block.ledger && thread_face.ignore_depth)
        ((struct ledger_entry *)block.ledger)->flags |= LEDGER_IGNORED;
}

static COLD void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static __attribute__((noinline)) void *allocate_recorded(enum alloc_kind kind, size_t size, size_t alignment)
{
    bool capture = may_capture(thread_enter());
    uint32_t site = capture ? record_capture() : 0;
    uint64_t mask = signals_hold();
    void *p = serve(kind, size, alignment);
    signals_release(mask);
    if (p && capture)
        note_block(p, site, size, kind);
    else if (p)
        record_missed();
    thread_leave();
    /* The block's address may be left over in a vector register, where a look at a running thread would take it for a
     * reference. */
    __asm__ volatile("pxor %%xmm0, %%xmm0" ::: "xmm0");
    return p ? p : out_of_memory();
}

static __attribute__((noinline)) void *allocate_accounted(enum alloc_kind kind, size_t size, size_t alignment)
{
    void *p = account_allocate(kind, size, alignment);
    return p ? p : out_of_memory();
}

void *allocate(size_t size, enum alloc_kind kind, size_t alignment)
{
    face_enter();
    if (face_state.watched)
        return face_state.recording ? allocate_recorded(kind, size, alignment)
                                    : allocate_accounted(kind, size, alignment);
    void *p = serve(kind, size, alignment);
    return p ? p : out_of_memory();
}

/* --- free ---------------------------------------------------------------------------------------- */

/* The entry is marked before the block is free: afterwards it may be another thread's. An entry that is
 * marked already belongs to a block that was freed before, whatever the free lists can still tell. */
static enum alloc_status free_recorded(void *p, struct ledger_entry *ret_entry)
{
    struct alloc_block block = {0};
    enum alloc_status status = alloc_find(p, &block);
    if (status != ALLOC_OK)
        return status;
    struct ledger_entry *entry = block.ledger;
    if (entry && entry->state == LEDGER_FREED)
        return ALLOC_DOUBLE_FREE;
    if (entry) {
        *ret_entry = *entry;
        record_free(entry);
    }
    uint64_t mask = signals_hold();
    status = alloc_free(p);
    signals_release(mask);
    return status;
}

static const char *call_name(enum release_call call)
{
    return call == RELEASE_FREE ? "free" : "operator delete";
}

static COLD void release_wrong(void *p, enum release_call call, enum alloc_status status)
{
    int saved = errno;
    if (status != ALLOC_FOREIGN || !foreign_free(p))
        misuse_report(call_name(call), p, status);
    errno = saved;
}

static __attribute__((noinline)) enum alloc_status release_watched(void *p, enum release_call call)
{
    struct ledger_entry entry = {0};
    if (!face_state.recording)
        return account_release(p);
    thread_enter();
    enum alloc_status status = free_recorded(p, &entry);
    thread_leave();
    if (status == ALLOC_OK && delete_is_mismatch(call, &entry))
        misuse_mismatch(call_name(call), p, &entry);
    return status;
}

void release(void *p, enum release_call call)
{
    if (!p)
        return;
    face_enter();
    enum alloc_status status = face_state.watched ? release_watched(p, call) : alloc_free(p);
    if (__builtin_expect(status != ALLOC_OK, 0))
        release_wrong(p, call, status);
}

/* --- realloc ------------------------------------------------------------------------------------- */

/* The new block's entry. A nested call takes no stack: the block keeps the site it had. */
static void note_resized(void *q, uint32_t site, size_t size, const struct ledger_entry *old)
{
    struct alloc_block block = {0};
    alloc_find(q, &block);
    struct ledger_entry *entry = block.ledger;
    if (site != 0)
        record_block(entry, site, size, KIND_REALLOC);
    else if (old->state == LEDGER_LIVE)
        record_block(entry, old->site, size, (enum alloc_kind)old->kind);
    else
        record_missed();
    if (entry)
        entry->flags |= old->flags | (thread_face.ignore_depth ? LEDGER_IGNORED : 0);
}

static enum alloc_status resize_recorded(void *p, uint32_t site, size_t size, void **ret_block)
{
    struct alloc_block block = {0};
    enum alloc_status status = alloc_find(p, &block);
    if (status != ALLOC_OK)
        return status;
    struct ledger_entry old = {0}, *entry = block.ledger;
    if (entry) {
        if (entry->state == LEDGER_FREED)
            return ALLOC_DOUBLE_FREE;
        old = *entry;
        record_free(entry); /* now: once it has moved, the old entry may be another thread's */
    }
    uint64_t mask = signals_hold();
    status = alloc_realloc(p, size, ret_block);
    signals_release(mask);
    if (status == ALLOC_OK && *ret_block)
        note_resized(*ret_block, site, size, &old);
    else if (entry)
        *entry = old;
    return status;
}

static COLD void *resize_wrong(void *p, size_t size, enum alloc_status status)
{
    void *q;
    if (status == ALLOC_FOREIGN && foreign_realloc(p, size, &q))
        return q;
    misuse_report("realloc", p, status);
    return out_of_memory();
}

void *reallocate(void *p, size_t size)
{
    void *q = NULL;
    enum alloc_status status;
    face_enter();
    if (face_state.recording) {
        bool capture = may_capture(thread_enter());
        status = resize_recorded(p, capture ? record_capture() : 0, size, &q);
        thread_leave();
    } else if (face_state.accounting) {
        status = account_resize(p, size, &q);
    } else {
        status = alloc_realloc(p, size, &q);
    }
    if (__builtin_expect(status != ALLOC_OK, 0))
        return resize_wrong(p, size, status);
    return q ? q : out_of_memory();
}
