/* SPDX-License-Identifier: MIT */
#include "tracer/record/rules.h"

#include <stddef.h>

#include "allocator/platform.h"

struct rule_entry (*rules_table)[2];

static uint64_t pack(const struct rule *rule)
{
    return 1u | (uint64_t)rule->kind << 1 | (uint64_t)rule->cfa_from_rbp << 4 |
           (uint64_t)rule->rbp_saved << 5 | ((uint64_t)rule->cfa_offset & 0xfffffffu) << 6 |
           ((uint64_t)rule->rbp_offset & 0xfffffffu) << 34;
}

bool rules_start(void)
{
    rules_table = platform_map_metadata(sizeof(*rules_table) << RULES_LOG);
    return rules_table != NULL;
}

static void store(struct rule_entry *entry, uint64_t mixed, uint64_t packed)
{
    __atomic_store_n(&entry->mixed, mixed, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->packed, packed, __ATOMIC_RELAXED);
}

void rules_put(uint64_t pc, uint32_t epoch, const struct rule *rule)
{
    uint64_t key = rules_key(pc, epoch);
    struct rule_entry *set = rules_set(key);

    store(&set[1], __atomic_load_n(&set[0].mixed, __ATOMIC_RELAXED),
          __atomic_load_n(&set[0].packed, __ATOMIC_RELAXED));
    store(&set[0], key ^ pack(rule), pack(rule));
}
