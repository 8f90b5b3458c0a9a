/* SPDX-License-Identifier: MIT */
#include "tracer/record/sites.h"

#include "allocator/platform.h"

#define INDEX_FIRST_LOG 12u /* 4,096 slots of 16 bytes: 64 KiB, touched as used */
#define INDEX_LAST_LOG  28u

#define PATH_SEALED 1u /* nothing is inserted here or behind: there is a newer index */
#define PATH_GONE   2u /* forgotten */

struct site_index *sites_newest;
static struct platform_lock growing;
static struct record_root *root; /* constant after sites_start */

static struct site_index *new_index(uint32_t log, struct site_index *older)
{
    struct site_index *made = platform_map_metadata(sizeof(struct site_index) + (sizeof(struct site_slot) << log));

    if (made) {
        made->older = older;
        made->shift = 64 - log;
        made->mask = ((uint64_t)1 << log) - 1;
    }
    return made;
}

/* --- nodes ------------------------------------------------------------------------------------------------- */

static struct site_node *segment_node(uint32_t id)
{
    uint32_t segment = site_segment_of(id);
    struct site_node *nodes =
        (struct site_node *)(uintptr_t)__atomic_load_n(&root->site_segment[segment], __ATOMIC_ACQUIRE);

    return nodes ? nodes + (id - site_segment_first(segment)) : NULL;
}

/* false: no memory. Of two threads that bring a segment one has mapped it for nothing. */
static bool have_segment(uint32_t segment)
{
    uint64_t none = 0;

    if (segment >= SITE_SEGMENTS)
        return false;
    if (__atomic_load_n(&root->site_segment[segment], __ATOMIC_ACQUIRE))
        return true;
    uint32_t count = segment == 0 ? 1u << SITE_SEGMENT_LOG : site_segment_first(segment);
    void *nodes = platform_map_metadata(sizeof(struct site_node) * count);
    if (!nodes)
        return false;
    __atomic_compare_exchange_n(&root->site_segment[segment], &none, (uintptr_t)nodes, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_ACQUIRE);
    return true;
}

/* 0 when memory is out. */
static uint32_t new_node(uint64_t ip, uint32_t parent, uint32_t module)
{
    if (!have_segment(site_segment_of(__atomic_load_n(&root->site_count, __ATOMIC_RELAXED))))
        return 0;
    uint32_t id = __atomic_fetch_add(&root->site_count, 1, __ATOMIC_RELAXED);
    if (!have_segment(site_segment_of(id)))
        return 0;
    struct site_node *node = segment_node(id);
    node->parent = parent;
    node->module = module;
    __atomic_store_n(&node->ip, ip, __ATOMIC_RELEASE);
    return id;
}

const struct site_node *sites_node(uint32_t id)
{
    if (id < SITE_FIRST || id >= __atomic_load_n(&root->site_count, __ATOMIC_RELAXED))
        return NULL;
    return segment_node(id);
}

/* --- look-ups ---------------------------------------------------------------------------------------------- */

static uint64_t path_at(const struct site_slot *slot)
{
    return __atomic_load_n(&slot->path, __ATOMIC_ACQUIRE);
}

/* The slot of this path, or NULL; *ret_free is then where it would go, or where a seal says that it goes elsewhere. */
static struct site_slot *search(struct site_index *index, uint64_t path, struct site_slot **ret_free)
{
    for (uint64_t at = path >> index->shift;; at++) {
        struct site_slot *slot = &index->slots[at & index->mask];
        uint64_t there = path_at(slot);

        if (there == path)
            return slot;
        if (there == 0 || there == PATH_SEALED) {
            *ret_free = slot;
            return NULL;
        }
    }
}

/* --- inserting --------------------------------------------------------------------------------------------- */

/* What is looked for, when it is not in the newest index. */
struct search {
    uint64_t path, ip;
    uint32_t parent, module;
    uint32_t id; /* 0: not made yet */
};

/* Of the slot, which has the path. */
static uint32_t settle_id(struct site_slot *slot, struct search *wanted)
{
    uint32_t id = __atomic_load_n(&slot->id, __ATOMIC_ACQUIRE);

    if (id)
        return id;
    if (!wanted->id)
        wanted->id = new_node(wanted->ip, wanted->parent, wanted->module);
    if (!wanted->id)
        return 0;
    if (__atomic_compare_exchange_n(&slot->id, &id, wanted->id, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return wanted->id;
    return id;
}

/* Its id there, or 0: then nobody inserts it there any more. */
static uint32_t find_or_seal(struct site_index *index, struct search *wanted)
{
    struct site_slot *slot, *empty;

    for (;;) {
        if ((slot = search(index, wanted->path, &empty)) != NULL)
            return settle_id(slot, wanted);
        uint64_t there = 0;
        if (__atomic_compare_exchange_n(&empty->path, &there, PATH_SEALED, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ||
            there == PATH_SEALED)
            return 0;
    }
}

/* Twice as large, unless somebody else is making one. false: there is no room for one more path. */
static bool grow(struct site_index *from)
{
    uint32_t log = 64u - (uint32_t)from->shift + 1u;

    if (!platform_try_lock(&growing)) {
        if (__atomic_load_n(&from->used, __ATOMIC_RELAXED) < from->mask / 4 * 3)
            return true;
        platform_lock(&growing);
    }
    if (sites_newest == from && log <= INDEX_LAST_LOG) {
        struct site_index *made = new_index(log, from);

        if (made)
            __atomic_store_n(&sites_newest, made, __ATOMIC_RELEASE);
    }
    bool grown = sites_newest != from;
    platform_unlock(&growing);
    return grown || __atomic_load_n(&from->used, __ATOMIC_RELAXED) < from->mask / 8 * 7;
}

/* Into the newest. false: begin again, there is a newer one. *ret 0: no memory. */
static bool insert(struct site_index *index, struct search *wanted, uint32_t *ret)
{
    struct site_slot *slot, *empty;

    for (;;) {
        if ((slot = search(index, wanted->path, &empty)) != NULL) {
            *ret = settle_id(slot, wanted);
            return true;
        }
        uint64_t there = 0;
        if (path_at(empty) == PATH_SEALED)
            return false;
        if (__atomic_compare_exchange_n(&empty->path, &there, wanted->path, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            __atomic_add_fetch(&index->used, 1, __ATOMIC_RELAXED);
    }
}

/* Of what was found in an older index: the next time it is found at once. */
static void bring_forward(struct site_index *index, uint64_t path, uint32_t id)
{
    struct search wanted = {.path = path, .id = id};

    if (__atomic_load_n(&index->used, __ATOMIC_RELAXED) <= index->mask / 2)
        (void)insert(index, &wanted, &id);
}

uint32_t sites_look_up(uint64_t path)
{
    struct site_index *newest = __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE);
    struct site_slot *slot, *unused;
    uint32_t id;

    for (struct site_index *index = newest; index; index = index->older) {
        if ((slot = search(index, path, &unused)) == NULL)
            continue;
        id = __atomic_load_n(&slot->id, __ATOMIC_ACQUIRE);
        if (id && index != newest)
            bring_forward(newest, path, id);
        return id;
    }
    return 0;
}

uint32_t sites_find(uint64_t path, uint64_t ip, uint32_t parent, uint32_t module)
{
    struct search wanted = {.path = path, .ip = ip, .parent = parent, .module = module};
    struct site_slot *slot, *unused;
    uint32_t id;

    for (;;) {
        struct site_index *index = __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE);

        if ((slot = search(index, path, &unused)) != NULL) {
            id = settle_id(slot, &wanted);
            break;
        }
        for (struct site_index *older = index->older; older && !wanted.id; older = older->older)
            wanted.id = find_or_seal(older, &wanted);
        if (__atomic_load_n(&index->used, __ATOMIC_RELAXED) > index->mask / 2 && !grow(index)) {
            id = wanted.id;
            break;
        }
        if (insert(index, &wanted, &id))
            break;
    }
    return id ? id : (uint32_t)SITE_END_NO_STACK;
}

/* --- modules that went ------------------------------------------------------------------------------------- */

static bool is_set(const uint64_t *bits, uint32_t i)
{
    return (bits[i / 64] >> i % 64 & 1) != 0;
}

/* Parents have smaller ids. */
static void mark_gone(uint64_t *gone, uint32_t nodes, const struct module_entry *modules, uint32_t count)
{
    for (uint32_t id = SITE_FIRST; id < nodes; id++) {
        const struct site_node *node = segment_node(id);

        if (!node || __atomic_load_n(&node->ip, __ATOMIC_ACQUIRE) == 0)
            continue;
        bool is_gone = (node->module < count && modules[node->module].unloaded) ||
                       (node->parent < id && is_set(gone, node->parent));
        gone[id / 64] |= (uint64_t)is_gone << id % 64;
    }
}

static void forget_in(struct site_index *index, const uint64_t *gone, uint32_t nodes)
{
    for (uint64_t at = 0; at <= index->mask; at++) {
        struct site_slot *slot = &index->slots[at];
        uint32_t id = __atomic_load_n(&slot->id, __ATOMIC_ACQUIRE);

        if (id != 0 && id < nodes && is_set(gone, id))
            __atomic_store_n(&slot->path, PATH_GONE, __ATOMIC_RELEASE);
    }
}

void sites_forget(const struct module_entry *modules, uint32_t count)
{
    uint32_t nodes = __atomic_load_n(&root->site_count, __ATOMIC_ACQUIRE);
    size_t size = ((size_t)nodes / 8 + 8 + PLATFORM_PAGE) & ~(size_t)(PLATFORM_PAGE - 1);
    uint64_t *gone = platform_map(size, PLATFORM_PAGE);

    if (!gone)
        return;
    mark_gone(gone, nodes, modules, count);
    for (struct site_index *index = __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE); index; index = index->older)
        forget_in(index, gone, nodes);
    platform_unmap(gone, size);
}

/* --- life -------------------------------------------------------------------------------------------------- */

bool sites_start(struct record_root *record_root)
{
    root = record_root;
    root->site_count = SITE_FIRST;
    struct site_index *made = new_index(INDEX_FIRST_LOG, NULL);
    if (!made || !have_segment(0))
        return false;
    __atomic_store_n(&sites_newest, made, __ATOMIC_RELEASE);
    return true;
}

bool sites_lock_is_mine(void)
{
    return platform_lock_is_mine(&growing);
}

void sites_fork_child(void)
{
    platform_lock_reset(&growing);
}
