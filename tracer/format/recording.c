/* SPDX-License-Identifier: MIT */
/* Building and freeing a recording. An append that fails leaves the recording as it was. */
#include "tracer/format/recording.h"

#include <stdlib.h>
#include <string.h>

#include "tracer/format/recording_strings.h"

#define FIRST_CAPACITY 16u

static char **const *meta_strings(struct rec_meta *m, char ***fields)
{
    fields[0] = &m->program;
    fields[1] = &m->command;
    fields[2] = &m->why_not;
    fields[3] = &m->reason;
    fields[4] = &m->memory_source;
    fields[5] = &m->unwinder;
    fields[6] = &m->tool_version;
    return fields;
}
#define META_STRINGS 7

char *recording_strdup(const char *text)
{
    size_t length = text == NULL ? 0 : strnlen(text, REC_STRING_MAX);
    char *copy = malloc(length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, length == 0 ? "" : text, length);
    copy[length] = '\0';
    return copy;
}

bool recording_set(char **field, const char *text)
{
    char *copy = recording_strdup(text);
    if (copy == NULL)
        return false;
    free(*field);
    *field = copy;
    return true;
}

struct recording *recording_new(void)
{
    struct recording *rec = calloc(1, sizeof *rec);
    if (rec == NULL)
        return NULL;
    char **fields[META_STRINGS];
    meta_strings(&rec->meta, fields);
    bool done = (rec->strings = rec_strings_new()) != NULL;
    for (int i = 0; i < META_STRINGS; i++)
        done = recording_set(fields[i], "") && done;
    if (!done) {
        recording_free(rec);
        return NULL;
    }
    return rec;
}

void recording_free(struct recording *rec)
{
    if (rec == NULL)
        return;
    char **fields[META_STRINGS];
    meta_strings(&rec->meta, fields);
    for (int i = 0; i < META_STRINGS; i++)
        free(*fields[i]);
    free(rec->modules);
    free(rec->lines);
    free(rec->frames);
    free(rec->frame_list);
    free(rec->sites);
    free(rec->groups);
    free(rec->blocks);
    free(rec->edges);
    free(rec->roots);
    free(rec->usages);
    free(rec->notes);
    rec_strings_free(rec->strings);
    free(rec);
}

/* Room for `more` elements after `count`, doubling. Indices stay below REC_NONE. Returns the array, moved or
 * not. */
static void *reserve(void *array, uint32_t count, uint32_t *capacity, size_t size, uint32_t more)
{
    if (more >= REC_NONE - count)
        return NULL;
    if (array != NULL && count + more <= *capacity)
        return array;
    uint64_t wanted = *capacity < FIRST_CAPACITY ? FIRST_CAPACITY : *capacity * (uint64_t)2;
    if (wanted < count + more)
        wanted = count + more;
    if (wanted > REC_NONE)
        wanted = REC_NONE;
    void *moved = reallocarray(array, wanted, size);
    if (moved != NULL)
        *capacity = (uint32_t)wanted;
    return moved;
}

/* The next free element of an array, or NULL; the count is the caller's to raise. */
#define NEXT(rec, array)                                                                                     \
    __extension__({                                                                                          \
        void *room_ =                                                                                        \
            reserve((rec)->array, (rec)->array##_count, &(rec)->array##_capacity, sizeof *(rec)->array, 1);  \
        if (room_ != NULL)                                                                                   \
            (rec)->array = room_;                                                                            \
        room_ == NULL ? NULL : &(rec)->array[(rec)->array##_count];                                          \
    })

uint32_t recording_add_module(struct recording *rec, const struct rec_module *m)
{
    struct rec_module *to = NEXT(rec, modules);
    char *path = rec_strings_intern(rec->strings, m->path);
    if (to == NULL || path == NULL)
        return REC_NONE;
    *to = *m;
    to->path = path;
    return rec->modules_count++;
}

uint32_t recording_add_line(struct recording *rec, const struct rec_line *l)
{
    struct rec_line *to = NEXT(rec, lines);
    char *function = rec_strings_intern(rec->strings, l->function);
    char *file = rec_strings_intern(rec->strings, l->file);
    if (to == NULL || function == NULL || file == NULL)
        return REC_NONE;
    *to = *l;
    to->function = function;
    to->file = file;
    return rec->lines_count++;
}

uint32_t recording_add_frame(struct recording *rec, const struct rec_frame *f)
{
    struct rec_frame *to = NEXT(rec, frames);
    if (to == NULL)
        return REC_NONE;
    *to = *f;
    return rec->frames_count++;
}

uint32_t recording_add_site(struct recording *rec, const uint32_t *frames, uint32_t count, uint32_t end)
{
    struct rec_site *to = NEXT(rec, sites);
    uint32_t *list = reserve(rec->frame_list, rec->frame_list_count, &rec->frame_list_capacity,
                             sizeof *rec->frame_list, count);
    if (list != NULL)
        rec->frame_list = list;
    if (to == NULL || list == NULL)
        return REC_NONE;
    *to = (struct rec_site){.first_frame = rec->frame_list_count, .frame_count = count, .end = end};
    if (count > 0)
        memcpy(list + rec->frame_list_count, frames, count * sizeof *frames);
    rec->frame_list_count += count;
    return rec->sites_count++;
}

uint32_t recording_add_group(struct recording *rec, const struct rec_group *g)
{
    struct rec_group *to = NEXT(rec, groups);
    if (to == NULL)
        return REC_NONE;
    *to = *g;
    to->suppressed_by = REC_NONE;
    return rec->groups_count++;
}

uint32_t recording_add_block(struct recording *rec, const struct rec_block *b)
{
    struct rec_block *to = NEXT(rec, blocks);
    if (to == NULL)
        return REC_NONE;
    *to = *b;
    return rec->blocks_count++;
}

uint32_t recording_add_edge(struct recording *rec, const struct rec_edge *e)
{
    struct rec_edge *to = NEXT(rec, edges);
    if (to == NULL)
        return REC_NONE;
    *to = *e;
    return rec->edges_count++;
}

uint32_t recording_add_root(struct recording *rec, const struct rec_root *r)
{
    struct rec_root *to = NEXT(rec, roots);
    char *name = rec_strings_intern(rec->strings, r->name);
    if (to == NULL || name == NULL)
        return REC_NONE;
    *to = *r;
    to->name = name;
    return rec->roots_count++;
}

uint32_t recording_add_usage(struct recording *rec, const struct rec_usage *usage)
{
    struct rec_usage *to = NEXT(rec, usages);
    if (to == NULL)
        return REC_NONE;
    *to = *usage;
    return rec->usages_count++;
}

bool recording_add_note(struct recording *rec, const char *line)
{
    char **to = NEXT(rec, notes);
    char *text = rec_strings_intern(rec->strings, line);
    if (to == NULL || text == NULL)
        return false;
    *to = text;
    rec->notes_count++;
    return true;
}

const char *format_status_text(enum format_status status)
{
    switch (status) {
    case FORMAT_OK:
        return "done";
    case FORMAT_IO:
        return "cannot be read or written";
    case FORMAT_FOREIGN:
        return "not a heaptally recording";
    case FORMAT_TOO_NEW:
        return "a recording of a later heaptally";
    case FORMAT_TRUNCATED:
        return "a heaptally recording whose end is missing";
    case FORMAT_CORRUPT:
        return "a damaged heaptally recording";
    case FORMAT_NO_MEMORY:
        return "too large for the memory there is";
    }
    return "unknown state";
}

const char *rec_class_name(uint32_t cls)
{
    static const char *const names[REC_CLASSES] = {"reachable", "possible", "lost", "cycle", "indirect"};
    return cls < REC_CLASSES ? names[cls] : "unknown";
}

const char *rec_verdict_name(uint32_t verdict)
{
    static const char *const names[] = {"not checked", "clean", "leaks"};
    return verdict <= REC_LEAKS ? names[verdict] : "unknown";
}
