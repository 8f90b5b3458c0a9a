/* SPDX-License-Identifier: MIT */
/*
 * redirect.h - let one imported function of one loaded library be another.
 *
 * For libunwind's sigprocmask: while it holds one of its locks it sets the mask to "every signal", but libc, of which it has that
 * set and the call, leaves 32 and 33 out of every set. A thread of libc's own that keeps 32 blocked and waits for it (the helper of
 * timer_create with SIGEV_THREAD) would find it unblocked during a walk, and the process die of it.
 */
#ifndef HEAPTALLY_REDIRECT_H
#define HEAPTALLY_REDIRECT_H

#include <stdbool.h>

/* `handle` is what dlopen returned, with everything bound (RTLD_NOW). false: the library does not import `name`, or its slot cannot be
 * written. Not to be called while another thread may be in the library. */
bool redirect_import(void *handle, const char *name, void *function);

#endif
