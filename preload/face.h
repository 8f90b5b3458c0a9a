/* SPDX-License-Identifier: MIT */
/*
 * face.h - how the files behind the exported symbols meet.
 *
 *   exports.c   every name in exports.map: argument rules of the C library, the two inlined fast paths
 *      |  miss
 *      v
 *   recorded_fast.c  while recording: blocks of the thread's own, by stacks that are known
 *      |  miss
 *      v
 *   recorded.c  allocate(), reallocate(), release(): first call, thread arming, the recorder round the
 * allocator, errno |  wrong pointer
 *      v
 *   misuse.c    ours but wrong: one line, stacks, policy        foreign.c   not ours: the C library's own, or
 * nobody's
 *
 *   delete.c    C++'s operator delete
 *   harden.c    harden=1: canaries, quarantine.c, guard pages; sweep.c looks once more at exit
 *   freed.c     what was freed lately, for misuse.c
 *
 *   start.c first call and constructor    thread.c a thread's end    fork.c    dl.c dlopen, dlclose
 *   annotate.c the annotation API         interface.c figures and tuning
 *
 * Threads: all of it may be called by any thread at any time, the first call included (before any
 * constructor, there is one thread; should there be more, those that come while it runs are served with what
 * is set so far).
 */
#ifndef HEAPTALLY_FACE_H
#define HEAPTALLY_FACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/allocator.h"
#include "tracer/format/tables.h"
#include "tracer/record/record.h"

#define EXPORT __attribute__((visibility("default")))
#define COLD   __attribute__((noinline, cold))

/* --- start.c ------------------------------------------------------------------------------------- */

/* What the slow paths look at. Written by the first call and the constructor only. */
struct face_state {
    bool started;           /* settings are read and applied */
    bool recording;         /* record_start() has succeeded */
    bool plainly_recording; /* and nothing else is to be done */
    bool free_stacks;       /* of frees, too */
    bool hardened;   /* harden=1: harden.c stands between us and the allocator. By the first call only */
    bool freezing;   /* freeze_start() was called: the channel and the hooks are there */
    bool accounting; /* account_start() has succeeded: sizes are counted, no stacks (account.h) */
    bool watched;    /* recording, hardened or accounting */
};
extern struct face_state face_state __attribute__((visibility("hidden")));

void start_first_call(void); /* once; later and nested calls return at once */

/* --- recorded.c: the slow paths ------------------------------------------------------------------ */

/* What the program called; for messages. */
enum release_call { RELEASE_FREE, RELEASE_DELETE };

/* NULL with errno = ENOMEM. alignment counts for KIND_ALIGNED only: a power of two. */
void *allocate(size_t size, enum alloc_kind kind, size_t alignment);
void *reallocate(void *p, size_t size);        /* p != NULL, size > 0 */
void release(void *p, enum release_call call); /* keeps errno */

/* --- recorded_fast.c: as allocate(), release(), reallocate(), which they end with if they cannot; while plainly_recording -- */

void *malloc_recorded(size_t size);
void *calloc_recorded(size_t size);
void *realloc_recorded(void *p, size_t size);
void free_recorded(void *p);
void delete_recorded(void *p, uintptr_t form, uintptr_t a, uintptr_t b); /* delete_slow() */

/* --- thread.c ------------------------------------------------------------------------------------ */

enum thread_life {
    THREAD_FRESH, /* no destructor armed yet */
    THREAD_ARMED,
    THREAD_ENDED, /* its heap is given up: served, never attached nor recorded again */
};

/* Written by their own thread only. */
struct thread_face {
    uint8_t life; /* enum thread_life */
};
extern __thread struct thread_face thread_face;

void thread_start(void); /* makes the key: from the first call, so that no program can have taken them all */
void thread_arm(void);   /* from a fresh thread's first slow call, which is not the process's first */

/* --- cancel.c ------------------------------------------------------------------------------------ */

void cancel_start(void);
void cancel_fork_child(void);
/* Round a slow path of a thread with `cancels`. */
void cancel_hold(void);
void cancel_let(void);

/* --- delete.c ------------------------------------------------------------------------------------ */

void delete_start(void);
/* operator delete, the form of so many, of what the fast paths did not free. */
void delete_slow(void *p, uintptr_t form, uintptr_t a, uintptr_t b);
/* The block was not allocated by what goes with `call`. Only what is sure: a block that libstdc++'s operator new got came
 * from there, and one that calloc or realloc returned did not. A malloc may be somebody's own operator new; new and new[]
 * look alike. */
static inline bool delete_is_mismatch(enum release_call call, const struct ledger_entry *entry)
{
    if (entry->state != LEDGER_LIVE)
        return false;
    if (call == RELEASE_DELETE)
        return (entry->kind == KIND_CALLOC || entry->kind == KIND_REALLOC) && record_new_size != 0;
    return (entry->flags & LEDGER_NEW) != 0 && entry->kind == KIND_MALLOC;
}

/* --- fork.c, dl.c, annotate.c -------------------------------------------------------------------- */

void fork_start(void);     /* from the first call */
void fork_find_next(void); /* from the constructor */
/* The fork handlers are registered when this returns; any number of times, with no lock held. */
void fork_need(void);

/* What the companion gets in wire_target.annotations; 0 while there are none. */
uint64_t annotations_address(void);

#endif
