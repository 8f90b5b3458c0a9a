/* SPDX-License-Identifier: MIT */
/*
 * rules.h - how to get from a frame to its caller, kept per return address.
 *
 *      rule: caller's sp (the CFA) = (rsp | rbp) + offset;  return address at CFA - 8;  rbp unchanged, or
 * saved at CFA + offset
 *
 * 99 % of frames are of this form; the others (signal frames, realigned frames, DWARF expressions) are
 * RULE_SPECIAL and libunwind steps them each time. A rule depends on the code alone, so it is shared by all
 * threads and good until code is unloaded.
 *
 * The table has a fixed size and forgets: two ways, the older way of a set is overwritten. An entry is two
 * words, key ^ rule and rule, each written with one relaxed store: a reader that sees one word of one entry
 * and one of another computes a key that is not its own and misses (the odds of an accidental match are
 * 2^-64). The key holds the epoch of the module list, so that unloading anything makes all older entries
 * miss.
 */
#ifndef HEAPTALLY_RULES_H
#define HEAPTALLY_RULES_H

#include <stdbool.h>
#include <stdint.h>

enum rule_kind {
    RULE_UNKNOWN, /* not in the table */
    RULE_PLAIN,
    RULE_SPECIAL, /* step with libunwind */
    RULE_LAST,    /* outermost frame: its return address is undefined */
    RULE_NO_INFO, /* no unwind information */
};

struct rule {
    enum rule_kind kind;
    bool cfa_from_rbp;
    bool rbp_saved;
    int32_t cfa_offset; /* RULE_OFFSET_LIMIT bounds both, in absolute value */
    int32_t rbp_offset; /* from the CFA */
};

#define RULE_OFFSET_LIMIT (1 << 27)

bool rules_start(void);
/* pc: the address whose rule it is (a return address - 1, or the exact pc). */
struct rule rules_get(uint64_t pc, uint32_t epoch);
void rules_put(uint64_t pc, uint32_t epoch, const struct rule *rule);

#endif
