/* SPDX-License-Identifier: MIT */
#include "tracer/record/modules.h"

#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "allocator/platform.h"
#include "tracer/record/sites.h"
#include "tracer/record/trace.h"

#define FIRST_CAPACITY 512u /* objects of 96 bytes; a larger table has twice as many */
#define LAST_CAPACITY  (1u << 20)
#define NAME_ARENA     (16u * 1024u)

static struct platform_lock lock;
static struct record_root *root;     /* constant after modules_start */
static struct module_entry *entries; /* under lock; [0, root->module_count) are complete */
/* Those that are not marked unloaded, the newest first: a list that may be read at any time, and forked at any time. What is
 * taken out still leads on. Under lock, release; as many as entries. */
static uint32_t *next_loaded, newest_loaded = MODULE_NONE;
static char program[1024];       /* constant after modules_start: later it may not be asked for any more */
static char *names, *names_end;  /* under lock: where the next path goes */
static uint32_t first_epoch = 1; /* where there is no memory of that kind */
uint32_t *modules_epoch_now = &first_epoch;
static uint32_t epoch_kept = 1;  /* at least what it was; any thread */
static __thread bool is_opening; /* and has not allocated since; its thread only */

bool modules_start(struct record_root *record_root)
{
    root = record_root;
    entries = trace_take(FIRST_CAPACITY * sizeof(*entries));
    next_loaded = platform_map_metadata(FIRST_CAPACITY * sizeof(*next_loaded));
    if (!entries || !next_loaded)
        return false;
    uint32_t *wiped = platform_map_metadata_wiped();
    if (wiped) {
        *wiped = 1;
        modules_epoch_now = wiped;
    }
    long n = syscall(SYS_readlink, "/proc/self/exe", program, sizeof(program) - 1);
    program[n > 0 ? n : 0] = '\0';
    root->modules = (uintptr_t)entries;
    root->module_capacity = FIRST_CAPACITY;
    return true;
}

void modules_changed(void)
{
    if (modules_epoch() == 0)
        return; /* in a child that was forked unseen everything is looked at anew, as soon as that is seen */
    uint32_t now = __atomic_add_fetch(modules_epoch_now, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&epoch_kept, now, __ATOMIC_RELAXED);
}

static bool is_loaded(const struct module_entry *entry)
{
    struct code_object object;

    return code_find(entry->start, &object) && object.start == entry->start && object.end == entry->end;
}

/* Code that has left anything in a cache is in the list. What went by dlclose is gone, too, and not marked as such before
 * something else is there: so it counts whether the same ones are gone as the last time. */
void modules_may_be_gone(void)
{
    static uint64_t gone_before; /* a sum that tells which. Any thread, atomic */
    uint32_t i = __atomic_load_n(&newest_loaded, __ATOMIC_ACQUIRE);
    const struct module_entry *list =
        (const struct module_entry *)(uintptr_t)__atomic_load_n(&root->modules, __ATOMIC_ACQUIRE);
    const uint32_t *next = __atomic_load_n(&next_loaded, __ATOMIC_ACQUIRE);
    uint64_t gone = 0;

    for (; i != MODULE_NONE; i = __atomic_load_n(&next[i], __ATOMIC_ACQUIRE))
        if (!is_loaded(&list[i]))
            gone += (i + 1) * 0x9e3779b97f4a7c15u;
    if (__atomic_exchange_n(&gone_before, gone, __ATOMIC_RELAXED) != gone)
        modules_changed();
}

void modules_opening(void)
{
    is_opening = true;
    modules_changed();
}

void modules_opened(void)
{
    if (__builtin_expect(!is_opening, 1))
        return;
    is_opening = false;
    modules_changed();
}

bool modules_lock_is_mine(void)
{
    return platform_lock_is_mine(&lock);
}

void modules_restore_epoch(void)
{
    if (modules_epoch() == 0)
        __atomic_store_n(modules_epoch_now, epoch_kept + 8, __ATOMIC_RELEASE); /* some were on their way */
}

void modules_fork_child(void)
{
    platform_lock_reset(&lock);
    modules_restore_epoch();
}

/* A NUL-terminated copy that stays; "" when memory is out. */
static const char *keep_name(const char *name, size_t length)
{
    if (length + 1 > NAME_ARENA)
        length = NAME_ARENA - 1;
    if (!names || (size_t)(names_end - names) < length + 1) {
        names = trace_take(NAME_ARENA);
        if (!names)
            return "";
        names_end = names + NAME_ARENA;
    }
    char *copy = names;
    memcpy(copy, name, length);
    copy[length] = '\0';
    names += length + 1;
    return copy;
}

/* The loader calls the main program "": its name is what the kernel knows. */
static const char *name_of(const struct code_object *object)
{
    return object->path[0] != '\0' ? object->path : program;
}

static bool is_same_module(const struct module_entry *entry, const char *name, const uint8_t *id,
                           uint32_t id_length)
{
    return entry->build_id_length == id_length && memcmp(entry->build_id, id, id_length) == 0 &&
           strcmp((const char *)(uintptr_t)entry->path, name) == 0;
}

/* Readers of the old table find in it what they look for. */
static bool grow(void)
{
    uint32_t capacity = root->module_capacity * 2;
    struct module_entry *made = capacity <= LAST_CAPACITY ? trace_take(capacity * sizeof(*made)) : NULL;
    uint32_t *next = made ? platform_map_metadata(capacity * sizeof(*next)) : NULL;

    if (!next)
        return false;
    memcpy(made, entries, root->module_count * sizeof(*made));
    memcpy(next, next_loaded, root->module_count * sizeof(*next));
    entries = made;
    __atomic_store_n(&next_loaded, next, __ATOMIC_RELEASE);
    __atomic_store_n(&root->modules, (uintptr_t)made, __ATOMIC_RELEASE);
    root->module_capacity = capacity;
    return true;
}

static uint32_t append(const struct code_object *object, const char *name, const uint8_t *id,
                       uint32_t id_length)
{
    uint32_t index = root->module_count;

    if (index == root->module_capacity && !grow())
        return MODULE_NONE;
    struct module_entry *entry = &entries[index];
    entry->start = object->start;
    entry->end = object->end;
    entry->bias = object->bias;
    entry->path_length = (uint32_t)strlen(name);
    entry->path = (uintptr_t)keep_name(name, entry->path_length);
    entry->generation = index;
    entry->build_id_length = (uint8_t)id_length;
    memcpy(entry->build_id, id, id_length);
    __atomic_store_n(&root->module_count, index + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&next_loaded[index], newest_loaded, __ATOMIC_RELAXED);
    __atomic_store_n(&newest_loaded, index, __ATOMIC_RELEASE);
    return index;
}

/* Under lock. An object on the stack is loaded, so every other entry that overlaps its range is not. */
static uint32_t find_or_append(const struct code_object *object)
{
    uint8_t id[MODULE_BUILD_ID_MAX];
    const char *name = name_of(object);
    uint32_t id_length = code_build_id(object, id, sizeof(id));

    bool some_went = false;
    uint32_t found = MODULE_NONE, *link = &newest_loaded;
    for (uint32_t i; (i = *link) != MODULE_NONE;) {
        struct module_entry *entry = &entries[i];

        if (entry->end <= object->start || object->end <= entry->start) {
            link = &next_loaded[i];
            continue;
        }
        if (entry->start == object->start && entry->end == object->end &&
            is_same_module(entry, name, id, id_length)) {
            found = i;
            break;
        }
        __atomic_store_n(&entry->unloaded, 1, __ATOMIC_RELAXED);
        __atomic_store_n(link, next_loaded[i], __ATOMIC_RELEASE);
        some_went = true;
    }
    if (some_went) {
        sites_forget();
        modules_changed();
    }
    return found != MODULE_NONE ? found : append(object, name, id, id_length);
}

uint32_t modules_find(struct module_cache *cache, const struct code_object *object)
{
    uint32_t now = modules_epoch();
    uint32_t slot = (uint32_t)((object->start >> 12) * 0x9e3779b1u >> (32 - MODULE_CACHE_LOG)) &
                    ((1u << MODULE_CACHE_LOG) - 1);
    struct module_cache_line *line = &cache->lines[slot];

    if (line->epoch == now && line->start == object->start && line->end == object->end &&
        line->link_map == object->link_map)
        return line->module;
    platform_lock(&lock);
    uint32_t module = find_or_append(object);
    platform_unlock(&lock);
    *line = (struct module_cache_line){object->link_map, object->start, object->end, module, now};
    return module;
}
