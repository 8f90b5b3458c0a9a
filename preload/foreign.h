/* SPDX-License-Identifier: MIT */
/*
 * foreign.h - pointers that are in no memory of ours: the C library's own, another namespace's, or nobody's.
 *
 *   who gave it out                                      what is done
 *   the C library's own malloc, reached past us          handed to the C library: its free, its realloc
 *     (dlsym on its handle, as ctypes does; a library
 *     that was bound to it directly)
 *   a second C library (dlmopen), and the block looks    left alone, with one note per process: its own free
 *     like one of its blocks                             cannot be reached from here, and a leak harms nobody
 *   anything else                                        false: the caller reports misuse (misuse.h)
 *
 * The first two are told by the shape glibc gives its blocks: a header of two words before the pointer, a
 * size that fits the region it lies in, and a successor that says "the one before me is in use". The main
 * heap lies in the program break above where it stood at our first call; the other arenas in 64 MiB-aligned
 * heaps that name themselves. Every word is read only after the kernel has said that it can be: nothing
 * foreign is ever dereferenced blindly. This runs only for pointers that would otherwise be reported, so it
 * may take microseconds.
 */
#ifndef HEAPTALLY_FOREIGN_H
#define HEAPTALLY_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

void foreign_start(void); /* from the first call: remembers where the program break stands */

/* true: done (or left alone on purpose). */
bool foreign_free(void *p);
/* true: *ret_block is the result, as realloc's. */
bool foreign_realloc(void *p, size_t size, void **ret_block);
size_t foreign_usable_size(void *p); /* 0 when it is not the C library's */

void foreign_namespace_opened(void); /* dlmopen was called */

#endif
