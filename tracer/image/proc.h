/* SPDX-License-Identifier: MIT */
/*
 * proc.h - what /proc says about a process beside its memory; both memory sources share it.
 *
 * Everything is asked through a living thread: once main has called pthread_exit, /proc/PID/maps is empty and
 * /proc/TID/maps is not.
 */
#ifndef HEAPTALLY_PROC_H
#define HEAPTALLY_PROC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The text of /proc/<tid>/<name>, or of a directory its names, one a line; malloc'ed, NULL when it cannot be had. */
char *proc_read(pid_t tid, const char *name);

/* A descriptor for proc_resident(), or -1. */
int proc_open_pagemap(pid_t tid);
/* As memory_source.resident. */
size_t proc_resident(int pagemap, uint64_t addr, size_t pages, uint8_t *ret);

#endif
