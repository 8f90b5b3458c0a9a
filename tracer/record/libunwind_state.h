/* SPDX-License-Identifier: MIT */
/*
 * libunwind_state.h - what the three files of the libunwind backend share: one walk's state, and libunwind's
 * functions.
 *
 *    unwind_libunwind.c   opens libunwind; whole walks by its steps
 *    unwind_rules.c       walks by rules, asking libunwind for a rule once a return address
 *    libunwind_access.c   what libunwind asks us for: memory, registers, unwind tables
 */
#ifndef HEAPTALLY_LIBUNWIND_STATE_H
#define HEAPTALLY_LIBUNWIND_STATE_H

#include <libunwind.h>
#include <stdbool.h>
#include <stdint.h>

#include "tracer/record/code.h"
#include "tracer/record/unwind.h"

/* A probe (see derive_rule) runs on a made-up stack: registers far apart and far from anything real, and
 * words that tell the address they were read from. */
#define PROBE_RSP   0x0000700000000000ull
#define PROBE_RBP   0x0000780000000000ull
#define PROBE_REACH 0x0000010000000000ull
#define PROBE_KEY   0x5a00000000000000ull

/* Which registers access_reg gives out. */
enum registers_known { ALL_REGISTERS, ONLY_RSP_RBP };

struct libunwind_state {
    unw_addr_space_t space;
    const struct unwind_request *request; /* of the walk going on */
    struct code_object object;            /* the object of the frame being stepped */
    uint64_t known_low, known_high;       /* pages of stack that have been found readable */
    struct unwind_reads *reads;           /* where words of the stack that are read are noted; or NULL */
    bool no_info;                         /* the look-up for this frame found no unwind information */
    bool probing;                         /* memory outside the object is the made-up stack */
    enum registers_known known;
    uint32_t epoch;                       /* of the module list, for the rules this state uses */
    uint64_t ip;                          /* where the next cursor starts */
    uint64_t registers[UNWIND_REGISTERS]; /* and with which registers */
};

struct libunwind_functions {
    unw_addr_space_t (*create)(unw_accessors_t *, int);
    int (*caching)(unw_addr_space_t, unw_caching_policy_t);
    void (*flush)(unw_addr_space_t, unw_word_t, unw_word_t);
    int (*init)(unw_cursor_t *, unw_addr_space_t, void *);
    int (*step)(unw_cursor_t *);
    int (*get_reg)(unw_cursor_t *, unw_regnum_t, unw_word_t *);
    int (*search)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int, void *);
};
extern struct libunwind_functions lib; /* constant after start */

extern unw_accessors_t libunwind_accessors;

/* A word of the stack, if its page can be read. */
bool libunwind_read_stack(struct libunwind_state *state, uint64_t address, uint64_t *ret);
/* Does the address lie on the made-up stack? */
bool libunwind_is_made_up(uint64_t address);
/* A cursor at state->ip with state->registers, of which libunwind is given the known ones. */
bool libunwind_start_cursor(struct libunwind_state *state, unw_cursor_t *cursor, enum registers_known known);
/* The code at ip is the kernel's way back from a signal handler. */
bool libunwind_is_signal_return(const struct code_object *object, uint64_t ip);

static inline void note_read(struct unwind_reads *reads, uint64_t at, uint64_t value)
{
    if (reads->count < UNWIND_READS)
        reads->word[reads->count] = (struct unwind_word){at, value};
    reads->count++;
}

/* See struct unwinder. */
void libunwind_readable(const void *state, uint64_t *ret_low, uint64_t *ret_high);
enum unwind_step libunwind_step(void *state, struct unwind_place *at, struct unwind_reads *ret_reads);
/* false: a frame needs a register that rules do not carry; what was told to the request is void. */
bool libunwind_walk_by_rules(struct libunwind_state *state, enum site_end *ret);

#endif
