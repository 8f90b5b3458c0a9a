/* SPDX-License-Identifier: MIT */
/*
 * vanished.h - heaps of threads that have gone without alloc_thread_exit(): by the raw system call, or since the
 * program had taken every key, or allocated after its last destructor.
 *
 *   heap.attached:  0  no thread has it
 *                   1  a thread has it that cannot be asked for (VANISHED_UNKNOWN)
 *                   n  the thread with this claim has it
 *
 * Nobody tells, so somebody has to look: a thread that would need a new heap looks whether the thread of another
 * heap is gone, and takes that one's. To look at all heaps each time would be quadratic in the number of threads;
 * so it is done when there are twice as many heaps as were found alive the last time. Memory is bounded by that:
 * at most twice what living threads need.
 *
 * Whose heap is it? The C library's idea of the thread counts, not the kernel's: a vfork child and a raw clone
 * without TLS of its own have ids of their own and use the heap of the thread whose TLS they share.
 *
 * Claims (platform.h) know of forks that the library was not told of: the raw system call leaves claims in the child
 * that were those of the parent's threads, the caller's own among them. They are never believed there.
 *
 * A thread that vanished in the middle of a slow path (a signal handler ended it) may have left its heap half
 * changed: such a heap is left alone. In the middle of a fast path every store leaves the heap whole.
 *
 * Threads: all under the arena lock.
 */
#ifndef HEAPTALLY_VANISHED_H
#define HEAPTALLY_VANISHED_H

#include <stdbool.h>
#include <stdint.h>

#define VANISHED_UNKNOWN 1u

/* What heap.attached is to be for the calling thread. */
uint32_t vanished_claim(void);
/* Before a heap is made: true when heaps of vanished threads were found; they are idle now. */
bool vanished_collect(void);

#endif
