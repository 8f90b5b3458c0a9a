/* SPDX-License-Identifier: MIT */
/*
 * platform.h - the verbs that reach the kernel; platform.c is the only file here that does.
 *
 * Preconditions are at each verb. All are raw system calls as far as libc could take a lock or set errno:
 * every verb preserves errno. All are async-signal-safe. Failure injection for tests lives in platform.c too.
 */
#ifndef HEAPTALLY_PLATFORM_H
#define HEAPTALLY_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLATFORM_PAGE 4096u

/* Zeroed private memory of `size` bytes (a multiple of the page), aligned to `alignment` (a power of two, at
 * least a page); NULL when the kernel refuses. */
void *platform_map(size_t size, size_t alignment);
bool platform_unmap(void *p, size_t size);
/* Return the memory and keep the address space; it reads as zeros afterwards. */
bool platform_purge(void *p, size_t size);
/* Advice: no huge pages here, now or later. */
void platform_avoid_huge_pages(void *p, size_t size);
/* Grow or shrink where it is; false leaves it as it was. */
bool platform_resize(void *p, size_t old_size, size_t new_size);
/* Move the pages of [p, p + old_size) to `target`, which is mapped, ours, new_size bytes and is replaced;
 * what was at p is unmapped. false leaves both as they were. */
bool platform_move(void *p, size_t old_size, void *target, size_t new_size);

/* platform_map() that asks for the address `hint` (aligned) first, so that neighbours stay neighbours. */
void *platform_map_near(void *hint, size_t size, size_t alignment);
/* Where a process's chunks may start: a random 64 GiB window far from everything else, or NULL: no wish. */
void *platform_window(uint64_t random);

uint64_t platform_random(void); /* from the kernel's AT_RANDOM bytes; never 0. No system call */
uint64_t platform_now_ms(void); /* monotonic; vdso, no system call */
int platform_thread_id(void);

/* A word for the calling thread by which others can ask whether it is gone; never 1, and 0 when there is none to be had
 * here. It stands for the thread whose TLS is used, also in a vfork child. It is good in this process only: in a
 * forked child, however it was forked, no thread of the parent's is ever said to be gone. */
uint32_t platform_thread_claim(void);
/* The thread has ended, in whatever way. false when the kernel does not say. */
bool platform_thread_is_gone(uint32_t claim);

/* Metadata memory: zeroed, page-granular, never returned, and registered in alloc_root's list of metadata
 * regions, so that the walker tells it and no scanner takes it for a root. For the allocator itself and for
 * tracer/record. */
void *platform_map_metadata(size_t size);

/* The same, of which every page will soon be used: in huge pages, where the kernel gives those to who asks. */
void *platform_map_metadata_dense(size_t size);

/* The same, `size` bytes of a file from its start, shared. */
void *platform_map_metadata_file(int fd, size_t size);
void *platform_map_file(int fd, size_t size);
/* Memory of a file at p becomes another file's, which has the same contents; false leaves it as it was. */
bool platform_remap_file(void *p, size_t size, int fd);
/* Memory of a file at p becomes the process's own: `used` bytes as they are, the rest zero. false leaves it as it was. */
bool platform_make_private(void *p, size_t used, size_t size);
/* Whole pages of a file are given back to its disk, and read as zeros; where the file system cannot, nothing happens. */
void platform_punch(void *p, size_t size);
/* Pages of a file are there, and have room on its disk. false: there is none. (Where the kernel cannot tell, true.) */
bool platform_populate(void *p, size_t size);

/* A page of metadata memory that is zero in a forked child; NULL: there is none (Linux 4.14). */
void *platform_map_metadata_wiped(void);

/* A futex lock that knows its holder, no recursion. Never hold one while calling the program. The word is 0, or
 * the holder's number with bit 0 set while somebody may sleep: one store takes the lock and says who has it, so
 * that a signal handler, or a thread that a handler jumped out of, can tell a lock of its own from another's. */
struct platform_lock {
    uint32_t word;
};
bool platform_lock_is_mine(const struct platform_lock *lock);
void platform_lock(struct platform_lock *lock);
bool platform_try_lock(struct platform_lock *lock);
void platform_unlock(struct platform_lock *lock);
/* Wake one that waits, if any does: for a signal handler that interrupted a wait, and may have got the wake that was
 * meant for whoever comes next. That one looks again, and so will the interrupted one. */
void platform_lock_pass(struct platform_lock *lock);
void platform_lock_reset(struct platform_lock *lock); /* in a forked child */

/* Tests only: let the n-th call from now (1 = the next) of map/unmap/purge/resize/move fail; 0 turns it off.
 * Returns how many calls were made since the last setting. */
uint64_t platform_fail_nth(uint64_t n);

/* Tests only: of the kinds of calls named, from the first-th such call on (1 = the next) `count` in a row fail; kinds 0
 * turns it off. Calls of other kinds are not counted. platform_fail_nth(n) is this for all kinds and a count of 1. */
enum platform_call {
    PLATFORM_MAP = 1,
    PLATFORM_UNMAP = 2,
    PLATFORM_PURGE = 4,
    PLATFORM_REMAP = 8, /* resize and move */
    PLATFORM_ALL = 15,
};
uint64_t platform_fail_some(unsigned kinds, uint64_t first, uint64_t count);

#endif
