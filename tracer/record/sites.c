/* SPDX-License-Identifier: MIT */
#include "tracer/record/sites.h"

#include "allocator/platform.h"
#include "tracer/record/trace.h"

#define INDEX_FIRST_LOG 10u /* 1,024 slots of 16 bytes: 16 KiB */
#define INDEX_LAST_LOG  28u

#define PATH_SEALED                                                                                          \
    0u /* nothing is inserted here or behind: there is a newer index. Memory given back is full of it */
#define PATH_FREE 1u

#define FIRST_TURN 1u
/* What a slot has instead of an id and its turn: then its path, if it has one, is to be looked for in a newer index. */
#define FOUND_NONE 0u         /* free, or sealed, or given back */
#define FOUND_GONE UINT32_MAX /* of a stack that has gone, in an index that is being emptied */

struct site_index *sites_newest;
uint32_t sites_turn = FIRST_TURN;
static struct platform_lock growing;
static struct record_root *root; /* constant after sites_start */

static struct site_index *new_index(uint32_t log, struct site_index *older)
{
    struct site_index *made =
        platform_map_metadata_dense(sizeof(struct site_index) + (sizeof(struct site_slot) << log));

    if (made) {
        made->older = older;
        made->shift = 64 - log;
        made->mask = ((uint64_t)1 << log) - 1;
        for (uint64_t at = 0; at <= made->mask; at++)
            made->slots[at].path = PATH_FREE;
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
    void *nodes = trace_take(sizeof(struct site_node) * count);
    if (!nodes)
        return false;
    __atomic_compare_exchange_n(&root->site_segment[segment], &none, (uintptr_t)nodes, false,
                                __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return true;
}

/* 0 when memory is out. */
static uint32_t new_node(uint64_t ip, uint32_t parent, uint32_t module)
{
    /* Before an id is taken: without memory none is spent. */
    if (!have_segment(site_segment_of(__atomic_load_n(&root->site_count, __ATOMIC_RELAXED))))
        return 0;
    uint32_t id = __atomic_fetch_add(&root->site_count, 1, __ATOMIC_RELAXED);
    struct site_node *node = segment_node(id);
    if (__builtin_expect(!node, 0) && (!have_segment(site_segment_of(id)) || !(node = segment_node(id))))
        return 0;
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

/* --- modules that went ------------------------------------------------------------------------------------- */

/* No module of the stack has been replaced, by what was known when the turn was read. Parents have smaller ids. */
static bool is_whole(uint32_t id)
{
    uint32_t count = __atomic_load_n(&root->module_count, __ATOMIC_ACQUIRE);
    const struct module_entry *modules =
        (const struct module_entry *)(uintptr_t)__atomic_load_n(&root->modules, __ATOMIC_ACQUIRE);

    while (id >= SITE_FIRST) {
        const struct site_node *node = segment_node(id);

        if (node->module < count && __atomic_load_n(&modules[node->module].unloaded, __ATOMIC_RELAXED))
            return false;
        id = node->parent;
    }
    return true;
}

/* The id of a slot with a path; 0: it is of a stack that has gone, or elsewhere. *ret_found is what the slot has. */
static inline uint32_t id_at(struct site_slot *slot, uint64_t *ret_found)
{
    uint64_t turn = __atomic_load_n(&sites_turn, __ATOMIC_ACQUIRE);
    uint64_t found = *ret_found = __atomic_load_n(&slot->found, __ATOMIC_ACQUIRE);
    uint32_t id = (uint32_t)found;

    if (found == FOUND_NONE || found == FOUND_GONE)
        return 0;
    if (found >> 32 == turn)
        return id;
    if (!is_whole(id))
        return 0;
    /* If it is not the same any more, another thread has found out something newer. */
    __atomic_compare_exchange_n(&slot->found, &found, turn << 32 | id, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
    return id;
}

void sites_forget(void)
{
    __atomic_add_fetch(&sites_turn, 1, __ATOMIC_RELEASE);
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
        if (there == PATH_FREE || there == PATH_SEALED) {
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
    uint32_t id;   /* in an older index, so that it has to be this one; 0: it is in none */
    uint32_t made; /* a node for it that nobody has seen yet; 0: none */
};

#define ID_ELSEWHERE UINT32_MAX /* there is a newer index, and this path is in no older one any more */

/* The one it would get. 0: no memory. */
static uint32_t id_for(struct search *wanted)
{
    if (wanted->id)
        return wanted->id;
    if (!wanted->made)
        wanted->made = new_node(wanted->ip, wanted->parent, wanted->module);
    return wanted->made;
}

/* Of the slot, which has the path. 0: no memory. */
static uint32_t settle_id(struct site_slot *slot, struct search *wanted)
{
    for (;;) {
        uint64_t found;
        uint32_t id = id_at(slot, &found);

        if (id)
            return id;
        if (found == FOUND_NONE || found == FOUND_GONE)
            return ID_ELSEWHERE;
        if ((id = id_for(wanted)) == 0)
            return 0;
        if (__atomic_compare_exchange_n(&slot->found, &found, (uint64_t)FIRST_TURN << 32 | id, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return id;
    }
}

/* ThreadSanitizer does not see the exchange below, nor that it publishes the node. */
#ifdef __SANITIZE_THREAD__
void __tsan_release(void *address);
#define PUBLISH(slot) __tsan_release(&(slot)->found)
#else
#define PUBLISH(slot) (void)0
#endif

/* Path and id at once: there is no instant at which others see the one without the other. (The compilers' own exchange of 16
 * bytes is a call into a library for the one, and needs an option for all files for the other.) */
static bool claim(struct site_slot *slot, uint64_t path, uint32_t id)
{
    uint64_t there = PATH_FREE, found = FOUND_NONE;
    bool claimed;

    PUBLISH(slot);
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(claimed), "+m"(*slot), "+a"(there), "+d"(found)
                     : "b"(path), "c"((uint64_t)FIRST_TURN << 32 | id)
                     : "memory");
    return claimed;
}

/* Its id there, or 0: then nobody inserts it there any more. */
static uint32_t find_or_seal(struct site_index *index, struct search *wanted)
{
    struct site_slot *slot, *empty;

    for (;;) {
        if ((slot = search(index, wanted->path, &empty)) != NULL) {
            uint32_t id = settle_id(slot, wanted);
            return id == ID_ELSEWHERE ? 0 : id;
        }
        uint64_t there = PATH_FREE;
        if (__atomic_compare_exchange_n(&empty->path, &there, PATH_SEALED, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE) ||
            there == PATH_SEALED)
            return 0;
    }
}

/* Into the newest. false: begin again, there is a newer one. *ret 0: no memory; untouched when false. */
static bool insert(struct site_index *index, struct search *wanted, uint32_t *ret)
{
    struct site_slot *slot, *empty;

    for (;;) {
        if ((slot = search(index, wanted->path, &empty)) != NULL) {
            uint32_t id = settle_id(slot, wanted);
            if (id == ID_ELSEWHERE)
                return false;
            *ret = id;
            return true;
        }
        if (path_at(empty) == PATH_SEALED)
            return false;
        uint32_t id = id_for(wanted);
        if (id != 0 && !claim(empty, wanted->path, id))
            continue;
        if (id != 0)
            __atomic_add_fetch(&index->used, 1, __ATOMIC_RELAXED);
        *ret = id;
        return true;
    }
}

/* --- a larger index ---------------------------------------------------------------------------------------- */

/* To the newest, with nothing inserted here any more. */
static void move_slot(struct site_slot *slot, struct site_index *to)
{
    uint64_t path = path_at(slot);
    uint32_t unused;

    if (path == PATH_FREE && __atomic_compare_exchange_n(&slot->path, &path, PATH_SEALED, false,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return;
    if (path < PATH_LEAST)
        return;
    struct search moved = {.path = path};
    /* What has gone stays behind, unless another thread exchanges it just now. */
    for (uint64_t found; (moved.id = id_at(slot, &found)) == 0;)
        if (__atomic_compare_exchange_n(&slot->found, &found, FOUND_GONE, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return;
    (void)insert(to, &moved, &unused);
}

/* Everything is in the newest index then, and the old one is empty memory: who still looks into it finds nothing, and then
 * looks into the newest before inserting. */
static void empty_into(struct site_index *from, struct site_index *to)
{
    for (uint64_t at = 0; at <= from->mask; at++)
        move_slot(&from->slots[at], to);
    __atomic_store_n(&to->older, from->older, __ATOMIC_RELEASE);
    uintptr_t start = ((uintptr_t)from->slots + PLATFORM_PAGE - 1) & ~(uintptr_t)(PLATFORM_PAGE - 1);
    uintptr_t end = (uintptr_t)(from->slots + from->mask + 1) & ~(uintptr_t)(PLATFORM_PAGE - 1);
    if (end > start)
        (void)platform_purge((void *)start, end - start);
}

/* Twice as large, unless somebody else is making one. false: there is no room for one more path. */
static bool grow(struct site_index *from)
{
    uint32_t log = 64u - (uint32_t)from->shift + 1u;

    if (!platform_try_lock(&growing)) {
        if (__atomic_load_n(&from->used, __ATOMIC_RELAXED) < from->mask / 16 * 9)
            return true;
        platform_lock(&growing);
    }
    struct site_index *made = NULL;
    if (sites_newest == from && log <= INDEX_LAST_LOG && (made = new_index(log, from)) != NULL) {
        __atomic_store_n(&sites_newest, made, __ATOMIC_RELEASE);
        empty_into(from, made);
    }
    bool grown = sites_newest != from;
    platform_unlock(&growing);
    return grown || __atomic_load_n(&from->used, __ATOMIC_RELAXED) < from->mask / 8 * 7;
}

/* --- finding ----------------------------------------------------------------------------------------------- */

uint32_t sites_look_up(uint64_t path)
{
    struct site_index *index = __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE);
    struct site_slot *slot, *unused;
    uint64_t found;

    for (; index; index = __atomic_load_n(&index->older, __ATOMIC_ACQUIRE))
        if ((slot = search(index, path, &unused)) != NULL)
            return id_at(slot, &found);
    return 0;
}

/* While an index grows, or is about to. */
static __attribute__((noinline, cold)) uint32_t find_while_growing(struct search *wanted)
{
    struct site_slot *slot, *unused;
    uint32_t id = 0;

    for (;;) {
        struct site_index *index = __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE);

        if ((slot = search(index, wanted->path, &unused)) != NULL) {
            if ((id = settle_id(slot, wanted)) == ID_ELSEWHERE) {
                id = 0;
                continue;
            }
            if (id == 0 || __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE) == index)
                return id;
            wanted->id = id;
            continue;
        }
        struct site_index *older = __atomic_load_n(&index->older, __ATOMIC_ACQUIRE);
        for (; older && !wanted->id; older = __atomic_load_n(&older->older, __ATOMIC_ACQUIRE))
            wanted->id = find_or_seal(older, wanted);
        if (__atomic_load_n(&index->used, __ATOMIC_RELAXED) > index->mask / 2 && !grow(index))
            return wanted->id;
        if (insert(index, wanted, &id) &&
            (id == 0 || __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE) == index))
            return id;
        /* There is a newer index, and nobody may have moved what was just put into this one. */
        wanted->id = id ? id : wanted->id;
    }
}

uint32_t sites_find(uint64_t path, uint64_t ip, uint32_t parent, uint32_t module)
{
    struct search wanted = {.path = path, .ip = ip, .parent = parent, .module = module};
    struct site_index *index = __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE);
    uint32_t id = 0;

    if (__atomic_load_n(&index->older, __ATOMIC_ACQUIRE) == NULL &&
        __atomic_load_n(&index->used, __ATOMIC_RELAXED) <= index->mask / 2 && insert(index, &wanted, &id)) {
        if (__builtin_expect(id != 0 && __atomic_load_n(&sites_newest, __ATOMIC_ACQUIRE) == index, 1))
            return id;
        wanted.id = id;
    }
    id = find_while_growing(&wanted);
    return id ? id : (uint32_t)SITE_END_NO_STACK;
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
