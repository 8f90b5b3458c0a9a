/* SPDX-License-Identifier: MIT */
/*
 * soak.h - what soak.c works on: the pure allocator (soak_pure.c), or whatever malloc is (soak_malloc.c).
 *
 * Threads: all may be called by any thread.
 */
#ifndef HEAPTALLY_TESTS_SOAK_H
#define HEAPTALLY_TESTS_SOAK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

extern const char *const soak_name;

void *soak_malloc(size_t size);
void *soak_realloc(void *p, size_t size);
void soak_free(void *p);
pid_t soak_fork(void);
void soak_thread_exit(void);
size_t soak_verify(void); /* breaches; 0 where nobody can be asked */
uint64_t soak_live_bytes(void);

#endif
