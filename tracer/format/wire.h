/* SPDX-License-Identifier: MIT */
/*
 * wire.h - what the preloaded library and the companion say to each other over a Unix stream socket.
 *
 *      target                                     companion
 *      ------                                     ---------
 *      connect (start, or after fork) ----------> accept, SO_PEERCRED
 *      HELLO {who I am} -----------------------> notes the process
 *            ... the program runs ...
 *      CHECK {why, struct wire_target} --------> reads memory: process_vm_readv where allowed, else:
 *      <------------------------------ READ {addr, len}
 *      DATA {bytes}  (short or empty: unreadable) ->
 *      <------------------------------ MAPS
 *      DATA {text of /proc/thread-self/maps} --->
 *      <------------------------------ DONE {verdict}
 *      releases its threads, goes on with its exit (or, a frozen copy, ends)
 *
 * Every message is struct wire_header and `length` bytes. Integers are the machine's own: both ends run on one.
 * The first message of each side carries WIRE_VERSION; another version is refused by name. A side that reads a
 * malformed message closes the connection: for the companion that process is then "not checked".
 *
 * A connection that ends without CHECK does not mean that the process has ended: a program that closes descriptors it
 * does not know makes the library connect anew, with another HELLO of the same pid, when it has something to say; and
 * exec ends one connection and makes the next one. NOTEs may come at any time before CHECK.
 *
 * A snapshot on request (no HELLO, another connection):
 *
 *      target                                            companion
 *      ------                                            ---------
 *                                                        listens on WIRE_SNAPSHOT_PATH + its pid
 *      <------------------------ the library's signal, sent with sigqueue and WIRE_SNAPSHOT_VALUE
 *      parks its threads, copies itself, goes on
 *      the copy: connect, [NOTE], CHECK ---------------> SO_PEERCRED names the copy
 *
 * The path is in the target's mount namespace (/proc/PID/root), the pid in it is the target's own view of itself (last
 * number of NSpid in /proc/PID/status). The socket file must belong to root or to the target's effective user, and so
 * must the process that listens. A companion looks for the signal in SigCgt of /proc/PID/status before it sends: where
 * the library is not, or where the program took the signal for itself, the signal would end the program.
 */
#ifndef HEAPTALLY_WIRE_H
#define HEAPTALLY_WIRE_H

#include <stdint.h>

#define WIRE_MAGIC      0x48545731u /* "HTW1" */
#define WIRE_VERSION    1u
#define WIRE_MAX_LENGTH (1u << 20) /* of one message; READ asks for at most this much */
#define WIRE_PATH_MAX   4096u

#define WIRE_SNAPSHOT_PATH    "/tmp/.heaptally-"
#define WIRE_SNAPSHOT_VALUE   0x48545a534e415031ull /* sival_ptr of the request */
#define WIRE_RECORD_ON_VALUE  0x48545a5245434f31ull /* the same signal: record from now on, */
#define WIRE_RECORD_OFF_VALUE 0x48545a5245434f30ull /* or no longer */

enum wire_type {
    WIRE_HELLO = 1, /* target: struct wire_hello */
    WIRE_CHECK,     /* target: struct wire_target; it is frozen from now until DONE */
    WIRE_READ,      /* companion: struct wire_read */
    WIRE_MAPS,      /* companion: no body */
    WIRE_DATA,      /* target: the bytes; for MAPS possibly several, the last one empty */
    WIRE_DONE,      /* companion: struct wire_done */
    WIRE_NOTE, /* target: text, one line for the person: recording could not start, threads were not parked */
};

struct wire_header {
    uint32_t magic;
    uint16_t type;
    uint16_t version;
    uint32_t length;
};

struct wire_hello {
    int32_t pid, tid, parent; /* in the target's own pid namespace */
    uint32_t generation;      /* forks since the recording's first process */
    uint32_t recording; /* 1: allocations are recorded; 0: recording could not start (a NOTE says why) */
    char program[256];  /* base name of /proc/self/exe */
};

enum wire_reason {
    WIRE_AT_EXIT = 1,  /* exit(), return from main, last thread gone */
    WIRE_AT_FAST_EXIT, /* _exit, _Exit */
    WIRE_AT_QUICK_EXIT,
    WIRE_AT_EXEC,    /* if the exec fails the process goes on and a later CHECK replaces this one */
    WIRE_AT_SIGNAL,  /* a fatal signal that the settings name */
    WIRE_ON_REQUEST, /* a snapshot: the sender is a frozen copy */
};

enum thread_state {
    THREAD_PARKED = 1,
    THREAD_SELF,     /* the thread that asks for the check; registers are those of the program's exit frame */
    THREAD_UNPARKED, /* did not answer: its stack is to be scanned whole */
};

/* x86-64 general registers, in the order of the DWARF numbering: rax rdx rcx rbx rsi rdi rbp rsp r8..r15. */
#define THREAD_REGISTERS 16u
#define THREAD_RSP       7u
#define THREAD_FXSAVE    512u        /* vector_size without xsave */
#define THREAD_XSAVE_MAX (64u << 10) /* more than vector_size can be */

struct thread_slot {
    int32_t tid;
    uint32_t state;   /* enum thread_state */
    uint64_t fs_base; /* 0: not known */
    uint64_t ip;
    uint64_t registers[THREAD_REGISTERS];
    uint32_t live_registers; /* bit i: registers[i] is the program's and counts as a root */
    uint32_t reserved;
    uint64_t alternate_stack; /* start of its alternate signal stack; 0: none, or not known */
    uint64_t vector_start;    /* the fxsave or xsave area in its signal frame, there as long as it stands */
    uint64_t vector_size;     /* 0: none, no signal stopped it */
    char name[16];
};
_Static_assert(sizeof(struct thread_slot) == 200, "the companion reads an array of these");

struct wire_target {
    uint32_t reason;      /* enum wire_reason */
    int32_t status;       /* exit code or signal number */
    int32_t pid, tid;     /* a living thread to address the process by */
    uint64_t alloc_root;  /* struct alloc_root */
    uint64_t record_root; /* struct record_root, 0 when not recording */
    uint64_t threads;     /* struct thread_slot[thread_count] */
    uint32_t thread_count;
    uint32_t static_tls_size;    /* 0: not known */
    uint64_t own_start, own_end; /* the library's own image: its data is never a root */
    uint64_t annotations;        /* struct annotation_table (see heaptally.h), 0: none */
    uint64_t frozen_us;          /* how long parking the threads, and making the copy, took */
    uint64_t
        own_allocations; /* since this process began or was forked: 0 in a forked child: nothing it could have lost */
    uint64_t frozen_ms; /* when it stood still, CLOCK_MONOTONIC as the target has it; 0: not known */
    uint64_t reserved;
};

struct wire_read {
    uint64_t addr;
    uint32_t length;
    uint32_t reserved;
};

struct wire_done {
    uint32_t verdict;       /* enum rec_verdict of recording.h; informative */
    int32_t replace_status; /* unused by the library today: its program's exit code is never touched */
};

#endif
