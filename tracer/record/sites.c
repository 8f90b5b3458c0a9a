/* SPDX-License-Identifier: MIT */
#include "tracer/record/sites.h"

#include "allocator/platform.h"

#define INDEX_FIRST_LOG 13u /* 8,192 slots of 4 bytes: 32 KiB, touched as used */

/* An index and its size, together, so that a reader takes both with one load. */
struct site_index {
    uint32_t mask;
    uint32_t slots[]; /* node ids, 0 empty; written under lock, read by anyone (acquire) */
};

static struct platform_lock lock;
static struct record_root *root;     /* constant after sites_start; site_count is written under lock */
static struct site_index *index_now; /* written under lock (release), read by anyone (acquire) */

static struct site_index *new_index(uint32_t log)
{
    struct site_index *made = platform_map_metadata(sizeof(struct site_index) + (sizeof(uint32_t) << log));

    if (made)
        made->mask = (1u << log) - 1;
    return made;
}

static struct site_node *segment_node(uint32_t id)
{
    uint32_t segment = site_segment_of(id);
    /* Written once under lock before any id in it is published; whoever has an id has seen it. */
    struct site_node *nodes =
        (struct site_node *)(uintptr_t)__atomic_load_n(&root->site_segment[segment], __ATOMIC_RELAXED);

    return nodes + (id - site_segment_first(segment));
}

bool sites_start(struct record_root *record_root)
{
    root = record_root;
    struct site_node *first = platform_map_metadata(sizeof(struct site_node) << SITE_SEGMENT_LOG);
    struct site_index *made = new_index(INDEX_FIRST_LOG);

    if (!first || !made)
        return false;
    root->site_segment[0] = (uintptr_t)first;
    root->site_count = SITE_FIRST;
    __atomic_store_n(&index_now, made, __ATOMIC_RELEASE);
    return true;
}

bool sites_lock_is_mine(void)
{
    return platform_lock_is_mine(&lock);
}

void sites_fork_child(void)
{
    platform_lock_reset(&lock);
}

const struct site_node *sites_node(uint32_t id)
{
    if (id < SITE_FIRST || id >= __atomic_load_n(&root->site_count, __ATOMIC_ACQUIRE))
        return NULL;
    return segment_node(id);
}

static uint32_t hash_of(uint64_t ip, uint32_t parent)
{
    uint64_t h = (ip ^ ((uint64_t)parent << 32 | parent)) * 0x9e3779b97f4a7c15u;

    return (uint32_t)(h >> 32) ^ (uint32_t)h;
}

/* The id, or 0; *ret_slot is where it is or would go. */
static uint32_t look_up(struct site_index *index, uint64_t ip, uint32_t parent, uint32_t module,
                        uint32_t *ret_slot)
{
    uint32_t at = hash_of(ip, parent) & index->mask;

    for (;; at = (at + 1) & index->mask) {
        uint32_t id = __atomic_load_n(&index->slots[at], __ATOMIC_ACQUIRE);

        *ret_slot = at;
        if (id == 0)
            return 0;
        const struct site_node *node = segment_node(id);
        if (node->ip == ip && node->parent == parent && node->module == module)
            return id;
    }
}

/* Under lock. The new array is filled before it is published. */
static struct site_index *grow(struct site_index *old)
{
    struct site_index *made = new_index(32u - (uint32_t)__builtin_clz(old->mask) + 1u);

    if (!made)
        return old;
    for (uint32_t id = SITE_FIRST; id < root->site_count; id++) {
        const struct site_node *node = segment_node(id);
        uint32_t at = hash_of(node->ip, node->parent) & made->mask;

        while (made->slots[at])
            at = (at + 1) & made->mask;
        made->slots[at] = id;
    }
    __atomic_store_n(&index_now, made, __ATOMIC_RELEASE);
    return made;
}

/* Under lock. 0 when memory is out. */
static uint32_t new_node(uint64_t ip, uint32_t parent, uint32_t module)
{
    uint32_t id = root->site_count;
    uint32_t segment = site_segment_of(id);

    if (segment >= SITE_SEGMENTS)
        return 0;
    if (!root->site_segment[segment]) {
        void *nodes = platform_map_metadata(sizeof(struct site_node) * site_segment_first(segment));

        if (!nodes)
            return 0;
        __atomic_store_n(&root->site_segment[segment], (uintptr_t)nodes, __ATOMIC_RELAXED);
    }
    *segment_node(id) = (struct site_node){ip, parent, module};
    __atomic_store_n(&root->site_count, id + 1, __ATOMIC_RELEASE);
    return id;
}

static uint32_t insert(uint64_t ip, uint32_t parent, uint32_t module)
{
    struct site_index *index = index_now;
    uint32_t slot;
    uint32_t id = look_up(index, ip, parent, module, &slot);

    if (id)
        return id;
    if (root->site_count > index->mask / 2) {
        index = grow(index);
        if (root->site_count >
            index->mask - 2) /* could not grow, and one slot must stay empty for look-ups to end */
            return 0;
        look_up(index, ip, parent, module, &slot);
    }
    id = new_node(ip, parent, module);
    if (id)
        __atomic_store_n(&index->slots[slot], id, __ATOMIC_RELEASE);
    return id;
}

uint32_t sites_find(uint64_t ip, uint32_t parent, uint32_t module)
{
    uint32_t slot;
    uint32_t id = look_up(__atomic_load_n(&index_now, __ATOMIC_ACQUIRE), ip, parent, module, &slot);

    if (id)
        return id;
    platform_lock(&lock);
    id = insert(ip, parent, module);
    platform_unlock(&lock);
    return id ? id : (uint32_t)SITE_END_NO_STACK;
}
