/* SPDX-License-Identifier: MIT */
/*
 * frag_objects.h - which libraries a program brings, asked of the loader; and where other allocators are.
 *
 *    LD_TRACE_LOADED_OBJECTS=1 PROG --> "libc.so.6 => /lib/.../libc.so.6 (0x...)" a line each; PROG itself does not run
 *
 * A program that is linked with an allocator of its own (Debian's redis-server with jemalloc) measures that one when
 * nothing is preloaded: its glibc baseline preloads libc.so.6.
 */
#ifndef HEAPTALLY_FRAG_OBJECTS_H
#define HEAPTALLY_FRAG_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>

#include "tracer/tool/target.h"

struct frag_objects {
    char libc[4096]; /* path of the C library; "" unknown */
    char other[256]; /* name of another allocator among the libraries; "" none */
};

/* One line of the loader's list. */
void frag_objects_line(const char *line, struct frag_objects *ret);
/* The program must have passed target_check(): a static one would be run. */
bool frag_objects_read(const struct target *target, char **argv, struct frag_objects *ret);

/* The library of an allocator by its short name ("jemalloc"), where distributions put it. */
bool frag_objects_find(const char *name, char *ret, size_t size);

#endif
