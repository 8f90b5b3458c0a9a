/* SPDX-License-Identifier: MIT */
/*
 * atomics.h - the few memory orders in use, each in the name of its operation.
 *
 * They work on plain fields, so that layout.h stays readable by a companion that only copies bytes. A field
 * that is touched by these anywhere is touched by nothing else where two threads may meet.
 */
#ifndef HEAPTALLY_ATOMICS_H
#define HEAPTALLY_ATOMICS_H

#define load_relaxed(field)            __atomic_load_n((field), __ATOMIC_RELAXED)
#define load_acquire(field)            __atomic_load_n((field), __ATOMIC_ACQUIRE)
#define store_relaxed(field, value)    __atomic_store_n((field), (value), __ATOMIC_RELAXED)
#define store_release(field, value)    __atomic_store_n((field), (value), __ATOMIC_RELEASE)
#define exchange_acquire(field, value) __atomic_exchange_n((field), (value), __ATOMIC_ACQUIRE)
#define exchange_acq_rel(field, value) __atomic_exchange_n((field), (value), __ATOMIC_ACQ_REL)

/* On failure *expected is what was there. The weak form may fail for no reason and belongs in a loop. */
#define cas_weak_acq_rel(field, expected, value)                                                             \
    __atomic_compare_exchange_n((field), (expected), (value), true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)
/* Who is too late may use what he finds there. */
#define cas_acq_rel(field, expected, value)                                                                  \
    __atomic_compare_exchange_n((field), (expected), (value), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* One less in a counter that only its owner changes, and the result. The compiler makes one instruction of it, which
 * others see whole; ThreadSanitizer is told so. */
#ifdef __SANITIZE_THREAD__
#define count_down(field) __atomic_sub_fetch((field), 1, __ATOMIC_RELAXED)
#else
#define count_down(field) (--*(field))
#endif

/* The compiler forgets what p was made of. An atomic operation on a field of it then has its address in itself: the one it
 * has in common with an earlier access would be put in a register first. */
#define forget(p) __asm__("" : "+r"(p))

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#endif
