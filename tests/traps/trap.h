/* SPDX-License-Identifier: MIT */
/*
 * trap.h - what the programs here are made of: a table of named checks, each run in a process of its own.
 *
 *   driver (not under the library) --fork, exec--> the same program with the check's name, under TRAP_PRELOAD
 *      |                                              '-> returns: ok; CHECK failed, signal, time-out: FAIL
 *      '-> one line a check on stdout: "ok NAME", "skip NAME: why", "FAIL NAME: why"
 *
 * A check starts in a fresh process, so that limits, filters, taken keys and wrecked heaps of one are nobody
 * else's. `PROGRAM NAME` runs one by hand, `PROGRAM --list` names them.
 *
 * Environment: TRAP_PRELOAD the library under test (none: the C library's malloc), TRAP_SETTINGS what
 * HEAPTALLY is set to, TRAP_LONG the long counts, TRAP_KEEP a hung check is left for a debugger.
 */
#ifndef TESTS_TRAPS_TRAP_H
#define TESTS_TRAPS_TRAP_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

struct trap {
    const char *name;
    void (*run)(void);
    unsigned seconds; /* the time-out, 0: 30 s; ten times as much with TRAP_LONG */
};

/* Each program defines it; the last row has no name. */
extern const struct trap traps[];

/* A condition that does not hold is printed (without stdio: memory may be out) and counted. */
#define CHECK(condition) ((condition) ? (void)0 : trap_complain(__FILE__, __LINE__, #condition, errno))
/* As CHECK, and the check ends here. */
#define REQUIRE(condition)                                                                                   \
    ((condition) ? (void)0 : (trap_complain(__FILE__, __LINE__, #condition, errno), trap_end()))

/* Keeps the compiler from knowing what a pointer or a number is: calls are made as written. */
#define HIDE(x) __asm__ volatile("" : "+r"(x) : : "memory")

void trap_complain(const char *file, int line, const char *what, int error);
void trap_say(const char *format, ...)
    __attribute__((format(printf, 1, 2))); /* a line for who reads a failure */
__attribute__((noreturn)) void trap_skip(const char *why);
__attribute__((noreturn)) void trap_end(void); /* as if the check had returned, without atexit handlers */

bool trap_is_long(void);
bool trap_is_recording(void);
bool trap_has_library(void); /* a library was preloaded */
size_t trap_times(size_t quick, size_t longer);

double trap_now(void); /* seconds, monotonic */
long trap_resident_kib(void);
long trap_mappings(void); /* lines of /proc/self/maps, read without stdio */
unsigned trap_random(unsigned *state);

/* Fills a block so that a neighbour's write, or a second owner, shows. */
void trap_fill(void *block, size_t size, unsigned mark);
bool trap_is_filled(const void *block, size_t size, unsigned mark);

/* Forks; the child runs and ends with its count of failures; true when it came back well within `seconds`. */
bool trap_child(void (*run)(void *), void *argument, unsigned seconds);
/* Waits for a child; one that takes longer is killed (TRAP_KEEP: left). The status, -1 for the time-out. */
int trap_wait(pid_t pid, unsigned seconds);
/* Runs /bin/sh -c under the same preload; its exit code, or 128 + signal, -1 for a time-out. */
int trap_shell(const char *command, unsigned seconds);

#endif
