/* SPDX-License-Identifier: MIT */
/*
 * coarse.h - a heap's first blocks of most sizes are of few classes.
 *
 *   sizes          1..16  17..32  33..64       65..128     129..256    257..512    513..1024
 *   at first       16     32      64           128         256         512         1024
 *   a class each   16     32      48 64        80 .. 128   144 .. 256  288 .. 512  576 .. 1024
 *
 * A class's first block makes a page resident, and most programs and threads have a few blocks of many sizes: with a
 * page for every class of them the benchmark's churn took 1.88 times glibc's memory, and now takes 1.43 (bench-allocators
 * --only=churn). So a heap's table of classes begins with powers of two. When a coarse class has carved COARSE_BYTES and
 * has nothing left, the classes in it that ask for more get pools of their own, each as it asks; what the first blocks
 * waste is less than half of COARSE_BYTES a coarse class.
 *
 * The table is the fast path's own (heap.class_of_16): while nothing changes nothing is looked up. Requests for an
 * alignment ask for their class itself.
 *
 * Threads: the heap's owner only.
 */
#ifndef HEAPTALLY_COARSE_H
#define HEAPTALLY_COARSE_H

#include "allocator/layout.h"

/* The table for a new thread: powers of two, but for classes that have pools of their own. */
void coarse_begin(struct heap *heap);
/* What the heap allocates from for blocks of this class, whose bin is empty or may be. */
unsigned coarse_class(struct heap *heap, unsigned class);

#endif
