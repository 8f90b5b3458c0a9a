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

/* As they lie in the table. */
#define RULES_LOG                                                                                            \
    15u /* 32,768 sets of two ways: 1 MiB, touched as used; a large browser has about 50,000 return          \
           addresses */
struct rule_entry {
    uint64_t mixed; /* key ^ packed; any thread writes and reads, relaxed */
    uint64_t packed;
};
extern struct rule_entry (*rules_table)[2]
    __attribute__((visibility("hidden"))); /* constant after rules_start */

bool rules_start(void);
/* User addresses have 47 bits; 17 bits of epoch above them. A rule would have to survive 131,072 unloads to be mistaken. */
static inline uint64_t rules_key(uint64_t pc, uint32_t epoch)
{
    return pc ^ (uint64_t)epoch << 47;
}

static inline struct rule_entry *rules_set(uint64_t key)
{
    return rules_table[key * 0x9e3779b97f4a7c15u >> (64 - RULES_LOG)];
}

static inline int32_t rules_signed_28(uint64_t bits)
{
    return (int32_t)((uint32_t)bits << 4) >> 4;
}

/* kind 3 bits, cfa_from_rbp 1, rbp_saved 1, cfa_offset 28, rbp_offset 28, one bit always set so that no rule packs to 0. */
static inline struct rule rules_unpack(uint64_t packed)
{
    return (struct rule){
        .kind = (enum rule_kind)(packed >> 1 & 7),
        .cfa_from_rbp = packed >> 4 & 1,
        .rbp_saved = packed >> 5 & 1,
        .cfa_offset = rules_signed_28(packed >> 6),
        .rbp_offset = rules_signed_28(packed >> 34),
    };
}

/* pc: the address whose rule it is (a return address - 1, or the exact pc). */
static inline struct rule rules_get(uint64_t pc, uint32_t epoch)
{
    uint64_t key = rules_key(pc, epoch);
    const struct rule_entry *set = rules_set(key);

    for (int way = 0; way < 2; way++) {
        uint64_t packed = __atomic_load_n(&set[way].packed, __ATOMIC_RELAXED);

        if (packed && (__atomic_load_n(&set[way].mixed, __ATOMIC_RELAXED) ^ packed) == key)
            return rules_unpack(packed);
    }
    return (struct rule){.kind = RULE_UNKNOWN};
}
void rules_put(uint64_t pc, uint32_t epoch, const struct rule *rule);

#endif
