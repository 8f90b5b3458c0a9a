/* SPDX-License-Identifier: MIT */
/*
 * procfs.h - what /proc says about a process that is not ours.
 *
 * All of it may be stale when it is read: the process may have ended, and its number may even be another's.
 * So nothing here decides a verdict; it finds names, and explains failures.
 */
#ifndef HEAPTALLY_PROCFS_H
#define HEAPTALLY_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A thread of process pid (our namespace) that calls itself tid in its own: tid where nothing better is
 * known. */
int procfs_thread_here(int pid, int tid);
/* A thread that is no zombie: after main's pthread_exit the process is addressed through another. 0: none. */
int procfs_living_thread(int pid);
/* Its pid in its own, innermost namespace; 0 when there is no such process. */
int procfs_inner_pid(int pid);
/* A hexadecimal mask of /proc/PID/status: "SigCgt". */
bool procfs_signal_mask(int pid, const char *field, uint64_t *ret);
bool procfs_ids(int pid, uid_t *ret_euid, gid_t *ret_egid, int *ret_parent);
bool procfs_maps_mention(int pid, const char *text);
/* The value of a variable as the program was started with it, malloc'ed; NULL when unset or not readable. */
char *procfs_environment(int pid, const char *name);
/* The path of its executable; false when it cannot be had. */
bool procfs_executable(int pid, char *ret, size_t size);
/* Its command line in one line, malloc'ed; NULL when it cannot be had. */
char *procfs_command(int pid);

#endif
