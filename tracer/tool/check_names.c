/* SPDX-License-Identifier: MIT */
/* Numbers to names, each once: debug information is read for what is shown and for nothing else. */
#include "tracer/tool/check_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_MAX 4096u /* frames of one stack */
#define NEW_DEPTH 3u    /* operator new[] calls operator new calls malloc */

/* --- an index --------------------------------------------------------------------------------------------------- */

static struct check_index_entry *index_place(const struct check_index *index, uint64_t a, uint32_t b)
{
    uint64_t hash = (a ^ (uint64_t)b << 32 ^ b) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t i = (uint32_t)(hash >> 32) & (index->capacity - 1);
    while (index->entries[i].value && (index->entries[i].a != a || index->entries[i].b != b))
        i = (i + 1) & (index->capacity - 1);
    return &index->entries[i];
}

static bool index_grow(struct check_index *index)
{
    struct check_index grown = {.capacity = index->capacity ? index->capacity * 2 : 256,
                                .count = index->count};
    grown.entries = calloc(grown.capacity, sizeof(*grown.entries));
    if (!grown.entries)
        return false;
    for (uint32_t i = 0; i < index->capacity; i++)
        if (index->entries[i].value)
            *index_place(&grown, index->entries[i].a, index->entries[i].b) = index->entries[i];
    free(index->entries);
    *index = grown;
    return true;
}

static bool index_find(const struct check_index *index, uint64_t a, uint32_t b, uint32_t *ret)
{
    const struct check_index_entry *entry = index->count ? index_place(index, a, b) : NULL;
    if (!entry || !entry->value)
        return false;
    *ret = entry->value - 1;
    return true;
}

/* value == REC_NONE says that memory was out where it came from. */
static bool index_put(struct check_index *index, uint64_t a, uint32_t b, uint32_t value)
{
    if (value == REC_NONE || (index->count >= index->capacity / 2 && !index_grow(index)))
        return false;
    *index_place(index, a, b) = (struct check_index_entry){a, b, value + 1};
    index->count++;
    return true;
}

/* --- modules ---------------------------------------------------------------------------------------------------- */

static bool name_module(struct check *check, uint32_t module, uint32_t *ret)
{
    const char *path = "";
    const struct module_entry *entry = image_module(check->image, module, &path);
    *ret = REC_NONE;
    if (!entry || index_find(&check->modules, module, 0, ret))
        return true;
    const struct image_elf *elf =
        path[0] || entry->unloaded ? NULL : image_elf_at(check->image, entry->start);
    char *own_path = recording_strdup(elf ? elf->path : path);
    if (!own_path)
        return false;
    struct rec_module named = {.path = own_path,
                               .start = entry->start,
                               .end = entry->end,
                               .bias = entry->bias,
                               .generation = entry->generation,
                               .unloaded = entry->unloaded,
                               .build_id_length = entry->build_id_length};
    memcpy(named.build_id, entry->build_id, entry->build_id_length);
    *ret = recording_add_module(check->rec, &named);
    free(own_path);
    return index_put(&check->modules, module, 0, *ret);
}

/* --- frames and sites ------------------------------------------------------------------------------------------- */

static bool name_frame(struct check *check, const struct site_node *node, uint32_t *ret)
{
    if (index_find(&check->frames, node->ip, node->module, ret))
        return true;
    struct rec_frame frame = {.ip = node->ip};
    if (!name_module(check, node->module, &frame.module) ||
        !symbols_resolve(check->symbols, check->rec,
                         frame.module == REC_NONE ? NULL : &check->rec->modules[frame.module], node->ip,
                         false, &frame))
        return false;
    *ret = recording_add_frame(check->rec, &frame);
    return index_put(&check->frames, node->ip, node->module, *ret);
}

static bool is_ours(const struct check *check, uint64_t ip)
{
    const struct wire_target *target = check->request->target;
    return ip > target->own_start && ip <= target->own_end;
}

/* A chain that does not end as one should is damaged: it says no more than that. */
static uint32_t end_of(uint32_t at, uint32_t count)
{
    return at <= SITE_END_NO_STACK ? at : count == STACK_MAX ? SITE_END_CUT : SITE_END_NO_INFO;
}

uint8_t *check_site_ends(const struct check *check, uint32_t *ret_count)
{
    uint32_t count = image_site_count(check->image);
    uint8_t *ends = malloc((size_t)count + 1);
    struct site_node node;
    for (uint32_t site = 0; ends && site < count; site++) {
        if (!image_site_node(check->image, site, &node))
            ends[site] = (uint8_t)end_of(site, 0);
        else
            ends[site] = ends[node.parent]; /* which is smaller */
    }
    *ret_count = count;
    return ends;
}

bool check_name_site(struct check *check, uint32_t site, uint32_t *ret)
{
    uint32_t frames[STACK_MAX], count = 0, at = site;
    struct site_node node;
    *ret = REC_NONE;
    if (site == 0 || index_find(&check->sites, site, 0, ret))
        return true;
    while (at >= SITE_FIRST && count < STACK_MAX && image_site_node(check->image, at, &node)) {
        if (!is_ours(check, node.ip) && !name_frame(check, &node, &frames[count++]))
            return false;
        at = node.parent;
    }
    *ret = recording_add_site(check->rec, frames, count, end_of(at, count));
    return index_put(&check->sites, site, 0, *ret);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* What a person reads of a stack, in 64 bits. Equal strings of a recording are one, so pointers stand for them. */
static uint64_t reading_of(const struct recording *rec, const struct rec_site *site)
{
    uint64_t hash = site->end;
    for (uint32_t i = 0; i < site->frame_count; i++) {
        const struct rec_frame *frame = &rec->frames[rec->frame_list[site->first_frame + i]];
        hash = mix(hash, frame->module);
        if (frame->line_count == 0)
            hash = mix(hash, frame->ip);
        for (uint32_t j = 0; j < frame->line_count; j++) {
            const struct rec_line *line = &rec->lines[frame->first_line + j];
            hash = mix(mix(hash, (uintptr_t)line->function), (uintptr_t)line->file);
            hash = mix(hash, line->line ? line->line : frame->ip);
        }
    }
    return hash;
}

bool check_same_site(struct check *check, uint32_t site, uint32_t *ret)
{
    uint32_t named;
    *ret = site;
    if (!check_name_site(check, site, &named))
        return false;
    if (named == REC_NONE)
        return true;
    const struct rec_site *shown = &check->rec->sites[named];
    uint64_t reading = reading_of(check->rec, shown);
    return index_find(&check->readings, reading, shown->frame_count, ret) ||
           index_put(&check->readings, reading, shown->frame_count, site);
}

uint32_t check_kind_of(const struct recording *rec, uint32_t rec_site, uint32_t kind)
{
    if (rec_site == REC_NONE)
        return kind;
    const struct rec_site *site = &rec->sites[rec_site];
    for (uint32_t i = 0; i < site->frame_count && i < NEW_DEPTH; i++) {
        const struct rec_frame *frame = &rec->frames[rec->frame_list[site->first_frame + i]];
        for (uint32_t j = 0; j < frame->line_count; j++) {
            const char *function = rec->lines[frame->first_line + j].function;
            if (strncmp(function, "operator new[]", 14) == 0)
                return KIND_NEW_ARRAY;
            if (strncmp(function, "operator new", 12) == 0)
                kind = KIND_NEW; /* unless the next one out is new[] */
        }
    }
    return kind;
}

/* --- roots ------------------------------------------------------------------------------------------------------ */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void thread_name(const struct check *check, uint32_t thread, char *buf, size_t size)
{
    const struct thread_slot *slot = &image_threads(check->image)[thread].slot;
    if (slot->name[0])
        snprintf(buf, size, "thread %u (%s)", thread + 1, slot->name);
    else
        snprintf(buf, size, "thread %u", thread + 1);
}

static void global_name(struct check *check, const struct image_root *root, uint64_t addr, char *buf,
                        size_t size)
{
    char symbol[256], path[4096];
    uint64_t offset;
    const struct image_elf *elf = image_elf_at(check->image, addr);
    if (!elf) {
        snprintf(buf, size, "%s", root->where);
        return;
    }
    snprintf(path, sizeof(path), "%s", elf->path);
    const struct rec_module module = {.path = path, .start = elf->start, .end = elf->end, .bias = elf->bias};
    if (symbols_data_name(check->symbols, &module, addr, symbol, sizeof(symbol), &offset))
        snprintf(buf, size, "global %s in %s", symbol, base_name(elf->path));
    else
        snprintf(buf, size, "global data of %s", base_name(elf->path));
}

static void root_name(struct check *check, const struct image_root *root, uint64_t addr, char *buf,
                      size_t size)
{
    static const char *const registers[THREAD_REGISTERS] = {"rax", "rdx", "rcx", "rbx", "rsi", "rdi",
                                                            "rbp", "rsp", "r8",  "r9",  "r10", "r11",
                                                            "r12", "r13", "r14", "r15"};
    char thread[64] = "";
    if (root->kind == ROOT_STACK || root->kind == ROOT_REGISTER || root->kind == ROOT_VECTOR_REGISTER ||
        root->kind == ROOT_ALTERNATE_STACK || root->kind == ROOT_TLS)
        thread_name(check, root->thread, thread, sizeof(thread));
    switch (root->kind) {
    case ROOT_GLOBAL:
        global_name(check, root, addr, buf, size);
        break;
    case ROOT_STACK:
        snprintf(buf, size, "stack of %s", thread);
        break;
    case ROOT_REGISTER:
        snprintf(buf, size, "register %s of %s", registers[root->reg % THREAD_REGISTERS], thread);
        break;
    case ROOT_VECTOR_REGISTER:
        snprintf(buf, size, "vector registers of %s", thread);
        break;
    case ROOT_ALTERNATE_STACK:
        snprintf(buf, size, "alternate signal stack of %s", thread);
        break;
    case ROOT_TLS:
        snprintf(buf, size, "TLS of %s", thread);
        break;
    case ROOT_WIDE:
        snprintf(buf, size, "%s%s", root->where,
                 root->where[0] == '/' || root->where[0] == '[' ? "" : " memory");
        break;
    case ROOT_THREAD_DATA:
    case ROOT_KERNEL:
    case ROOT_ANNOTATED:
    case ROOT_OWN:
        snprintf(buf, size, "%s", root->where);
        break;
    }
}

/* A global is named by its word, everything else by its root. */
bool check_name_root(struct check *check, uint32_t root, uint64_t addr, uint32_t *ret)
{
    char name[512];
    const struct image_root *about = image_root_at(check->image, root);
    uint64_t key = about->kind == ROOT_GLOBAL ? addr : 0;
    if (index_find(&check->roots, key, root, ret))
        return true;
    root_name(check, about, addr, name, sizeof(name));
    const struct rec_root named = {.name = name, .strict = about->strict};
    *ret = recording_add_root(check->rec, &named);
    return index_put(&check->roots, key, root, *ret);
}

void check_names_free(struct check *check)
{
    free(check->frames.entries);
    free(check->sites.entries);
    free(check->modules.entries);
    free(check->roots.entries);
    free(check->readings.entries);
}
