/* SPDX-License-Identifier: MIT */
/*
 * trace.h - a trace file: the recorder's tables (tables.h) as they lie in the target's memory, in a file that is mapped and
 * shared, so that it is complete at any instant, whatever ends the process.
 *
 *   | header | root | nodes, tallies, modules, names ... in the order they were needed |  nothing yet, no disk space |
 *   ^ base                                                                             ^ base + used                 ^ base + size
 *
 * It is memory: addresses in it are the target's, byte base of that is the file's first. So who reads a process's tables
 * reads a trace's with the same code. Nothing in it is an event: it grows with stacks and threads, not with time.
 *
 * A trace may be packed by zstd (packed.h), whole or as far as it was used.
 *
 * Byte order and word size are the target's. Readers distrust every number. TRACE_VERSION changes with this header, and
 * RECORD_LAYOUT_VERSION with all else; a reader refuses others by name.
 */
#ifndef HEAPTALLY_TRACE_H
#define HEAPTALLY_TRACE_H

#include <stdint.h>

#define TRACE_MAGIC   0x3143415254544148ull /* "HATTRAC1" */
#define TRACE_VERSION 1u

#define TRACE_SIZE_MOST (256u << 20) /* bytes */

#define TRACE_PROGRAM_MAX 1024u

enum trace_state {
    TRACE_GOES_ON, /* or was killed */
    TRACE_ENDED,   /* the process ended by itself */
    TRACE_EXEC,    /* another program took its place */
};

struct trace_header {
    uint64_t magic;
    uint32_t version;
    uint32_t state;   /* enum trace_state. Release */
    uint64_t base;    /* address of this header in the target */
    uint64_t size;    /* of the file */
    uint64_t used;    /* bytes taken. Any thread, by addition: may be more than size */
    uint64_t missed;  /* bytes that were needed and found no room in the file: what was in them is not here */
    uint64_t root;    /* address of struct record_root */
    uint64_t started; /* unix time in ms */
    int32_t pid, parent;
    char program[TRACE_PROGRAM_MAX]; /* path, NUL-terminated */
};

#endif
