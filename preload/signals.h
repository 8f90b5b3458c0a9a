/* SPDX-License-Identifier: MIT */
/*
 * signals.h - the program's signal handlers, entered through us, so that they may allocate.
 *
 *   kernel --> trampoline n --> handler n of the program
 *                 | interrupted one of the inline fast paths, or a slow path: the handler is bracketed, and
 *                 | served from elsewhere (allocator/nested.h)
 *                 ' interrupted a slow path with a lock held, or the recorder: the signal waits until that is over
 *
 * The fast paths are leaf code without a flag to say that a thread is inside. What tells is the interrupted
 * program counter, and only a handler that is entered through us can look at it. Hence sigaction, signal and
 * their kin are interposed. The kernel passes the context to every handler on x86-64, whether SA_SIGINFO was
 * asked for or not, so the program's flags stay as they are and read back the same.
 *
 * Trampolines are in the library's text, one for each handler, bound for good by one compare and swap. So which
 * handler belongs to which trampoline is no state of a process or a signal: a vfork child on our memory, a handler
 * that installs another one, or two threads at once cannot confuse it, and the program is given back its own
 * handler. When all are bound, further handlers are installed as they are.
 *
 * A signal that waits is blocked in the interrupted context and sent to the thread again, with what came with it;
 * it is unblocked as the lock is released, or the recorded call ends. So a handler finds no lock of ours held by
 * what it interrupted, and may leave it by siglongjmp. Not for faults, which cannot wait, nor for real-time signals,
 * whose order would change, nor where the kernel refuses: then the handler is bracketed.
 *
 * Not seen, and unprotected when they interrupt a fast path: handlers installed by the system call itself (Go), or by
 * a library that binds past us (RTLD_DEEPBIND), or by the old sigvec.
 *
 * Threads: everything may be called by any thread at any time, from handlers too.
 */
#ifndef HEAPTALLY_SIGNALS_H
#define HEAPTALLY_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

/* Finds the C library's functions: from the constructor. */
void signals_start(void);

#define SIGNAL_CANCEL 32 /* the first that the C library keeps: cancels a thread */

/* The handler of a signal that the C library keeps for itself, entered through us as from now. false: there is none yet, or
 * the kernel refuses. */
bool signals_adopt(int signal);

/* Let in what waited for this thread; by thread_leave() and as the allocator releases its last lock. */
void signals_let_in(void);

/* At the start of a slow path that finds its thread in a handler's bracket: ends it when the handler was left by a
 * jump. */
void signals_look_whether_left(void);

#endif
