/* SPDX-License-Identifier: MIT */
#include "tracer/record/rules.h"

#include <stddef.h>

#include "allocator/platform.h"

#define SETS_LOG                                                                                             \
    15u /* 32,768 sets of two ways: 1 MiB, touched as used; a large browser has about 50,000 return          \
           addresses */

struct entry {
    uint64_t mixed; /* key ^ packed; any thread writes and reads, relaxed: see rules.h */
    uint64_t packed;
};
static struct entry (*table)[2]; /* constant after rules_start */

/* kind 3 bits, cfa_from_rbp 1, rbp_saved 1, cfa_offset 28, rbp_offset 28, one bit always set so that no rule
 * packs to 0. */
static uint64_t pack(const struct rule *rule)
{
    return 1u | (uint64_t)rule->kind << 1 | (uint64_t)rule->cfa_from_rbp << 4 |
           (uint64_t)rule->rbp_saved << 5 | ((uint64_t)rule->cfa_offset & 0xfffffffu) << 6 |
           ((uint64_t)rule->rbp_offset & 0xfffffffu) << 34;
}

static int32_t signed_28(uint64_t bits)
{
    return (int32_t)((uint32_t)bits << 4) >> 4;
}

static struct rule unpack(uint64_t packed)
{
    return (struct rule){
        .kind = (enum rule_kind)(packed >> 1 & 7),
        .cfa_from_rbp = packed >> 4 & 1,
        .rbp_saved = packed >> 5 & 1,
        .cfa_offset = signed_28(packed >> 6),
        .rbp_offset = signed_28(packed >> 34),
    };
}

/* User addresses have 47 bits; 17 bits of epoch above them. A rule would have to survive 131,072 unloads to
 * be mistaken. */
static uint64_t key_of(uint64_t pc, uint32_t epoch)
{
    return pc ^ (uint64_t)epoch << 47;
}

static struct entry *set_of(uint64_t key)
{
    return table[key * 0x9e3779b97f4a7c15u >> (64 - SETS_LOG)];
}

bool rules_start(void)
{
    table = platform_map_metadata(sizeof(*table) << SETS_LOG);
    return table != NULL;
}

struct rule rules_get(uint64_t pc, uint32_t epoch)
{
    uint64_t key = key_of(pc, epoch);
    const struct entry *set = set_of(key);

    for (int way = 0; way < 2; way++) {
        uint64_t packed = __atomic_load_n(&set[way].packed, __ATOMIC_RELAXED);

        if (packed && (__atomic_load_n(&set[way].mixed, __ATOMIC_RELAXED) ^ packed) == key)
            return unpack(packed);
    }
    return (struct rule){.kind = RULE_UNKNOWN};
}

static void store(struct entry *entry, uint64_t mixed, uint64_t packed)
{
    __atomic_store_n(&entry->mixed, mixed, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->packed, packed, __ATOMIC_RELAXED);
}

void rules_put(uint64_t pc, uint32_t epoch, const struct rule *rule)
{
    uint64_t key = key_of(pc, epoch);
    struct entry *set = set_of(key);

    store(&set[1], __atomic_load_n(&set[0].mixed, __ATOMIC_RELAXED),
          __atomic_load_n(&set[0].packed, __ATOMIC_RELAXED));
    store(&set[0], key ^ pack(rule), pack(rule));
}
