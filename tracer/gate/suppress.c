/* SPDX-License-Identifier: MIT */
/* suppress.c - reading suppression files, and applying them to a recording's findings. */
#include "tracer/gate/suppress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/gate/pattern.h"

/* People write these files. What is larger is a wrong file name, and reading /dev/zero has to end. */
#define FILE_LIMIT ((size_t)16 << 20)

/* LeakSanitizer's own word for code that no module holds; files name it. */
#define NO_MODULE "<unknown module>"

struct rule {
    char *pattern;
    uint64_t blocks, bytes; /* in the recording that was judged last */
};

struct suppressions {
    struct rule *rules;
    uint32_t count, room;
};

/* --- reading -------------------------------------------------------------------------------------------- */
struct source {
    const char *name;
    uint32_t line;
    void (*warn)(const char *line);
    char *error;
    size_t error_size;
};

/* Always false, for `return source_error(...)`. */
static bool source_error(const struct source *src, const char *what)
{
    if (src->error_size && src->line)
        snprintf(src->error, src->error_size, "%s:%u: %s", src->name, src->line, what);
    else if (src->error_size)
        snprintf(src->error, src->error_size, "cannot read suppressions from %s: %s", src->name, what);
    return false;
}

static void source_warn(const struct source *src, const char *text, size_t length, const char *what)
{
    char line[512];
    int shown = length > 200 ? 200 : (int)length; /* enough to find it; the line's number is there too */
    if (!src->warn)
        return;
    snprintf(line, sizeof(line), "%.200s:%u: %s: %.*s", src->name, src->line, what, shown, text);
    src->warn(line);
}

static bool rule_append(struct suppressions *list, const char *pattern, size_t length)
{
    if (list->count == list->room) {
        if (list->room > UINT32_MAX / 2 - 16)
            return false;
        uint32_t room = list->room * 2 + 16;
        struct rule *rules = realloc(list->rules, room * sizeof(*rules));
        if (!rules)
            return false;
        list->rules = rules;
        list->room = room;
    }
    char *copy = strndup(pattern, length);
    if (!copy)
        return false;
    list->rules[list->count++] = (struct rule){.pattern = copy};
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Blanks around a line do not count; inside, also after "leak:", they are the pattern's. */
static bool parse_line(struct suppressions *list, const struct source *src, const char *line, size_t length)
{
    static const char kind[] = "leak:";
    size_t kind_length = sizeof(kind) - 1;
    while (length && is_blank(*line))
        line++, length--;
    while (length && is_blank(line[length - 1]))
        length--;
    if (length == 0 || *line == '#')
        return true;
    if (length < kind_length || memcmp(line, kind, kind_length) != 0) {
        source_warn(src, line, length, "not a leak: rule, skipped");
        return true;
    }
    if (length == kind_length)
        source_warn(src, line, length, "an empty pattern suppresses everything");
    if (!rule_append(list, line + kind_length, length - kind_length))
        return source_error(src, "out of memory");
    return true;
}

static bool parse_text(struct suppressions *list, struct source *src, const char *text, size_t length)
{
    if (length >= 3 &&
        memcmp(text, "\xef\xbb\xbf", 3) == 0) /* an editor's byte order mark is no part of the first rule */
        text += 3, length -= 3;
    for (const char *end = text + length; text < end;) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop)
            stop = end;
        src->line++;
        /* Not a text file. To stop here in silence, as a C string would, leaves rules out that somebody
         * relies on. */
        if (memchr(text, '\0', (size_t)(stop - text)))
            return source_error(src, "a zero byte: not a suppressions file");
        if (!parse_line(list, src, text, (size_t)(stop - text)))
            return false;
        text = stop + (stop < end);
    }
    return true;
}

static void rules_drop_from(struct suppressions *list, uint32_t count)
{
    while (list->count > count)
        free(list->rules[--list->count].pattern);
}

/* All of a text's rules or none: on failure *list is what it was. */
static bool list_append(struct suppressions **list, struct source *src, const char *text, size_t length)
{
    struct suppressions *to = *list ? *list : calloc(1, sizeof(*to));
    if (!to)
        return source_error(src, "out of memory");
    uint32_t before = to->count;
    if (!parse_text(to, src, text, length)) {
        rules_drop_from(to, before);
        if (!*list)
            suppressions_free(to);
        return false;
    }
    *list = to;
    return true;
}

/* The whole stream, also when it is a pipe: files come from process substitution as well. */
static bool read_all(FILE *in, const struct source *src, char **ret_text, size_t *ret_length)
{
    char *text = NULL;
    size_t length = 0, room = 0, got;
    do {
        if (length == room) {
            room = room ? room * 2 : 4096;
            char *grown = realloc(text, room);
            if (!grown) {
                free(text);
                return source_error(src, "out of memory");
            }
            text = grown;
        }
        got = fread(text + length, 1, room - length, in);
        length += got;
    } while (got && length <= FILE_LIMIT);
    if (ferror(in) || length > FILE_LIMIT) {
        const char *why = ferror(in) ? strerror(errno) : "larger than 16 MiB";
        free(text);
        return source_error(src, why);
    }
    *ret_text = text;
    *ret_length = length;
    return true;
}

bool suppressions_load(struct suppressions **list, const char *path, void (*warn)(const char *line),
                       char *error, size_t error_size)
{
    struct source src = {.name = path, .warn = warn, .error = error, .error_size = error_size};
    char *text = NULL;
    size_t length = 0;
    FILE *in = fopen(path, "re");
    if (!in)
        return source_error(&src, strerror(errno));
    bool ok = read_all(in, &src, &text, &length);
    fclose(in);
    ok = ok && list_append(list, &src, text, length);
    free(text);
    return ok;
}

bool suppressions_parse(struct suppressions **list, const char *text, size_t length, const char *name,
                        void (*warn)(const char *line), char *error, size_t error_size)
{
    struct source src = {.name = name, .warn = warn, .error = error, .error_size = error_size};
    return list_append(list, &src, text, length);
}

void suppressions_free(struct suppressions *list)
{
    if (!list)
        return;
    rules_drop_from(list, 0);
    free(list->rules);
    free(list);
}

/* --- judging -------------------------------------------------------------------------------------------- */
#define NOT_ASKED (REC_NONE - 1u)

/* Stacks share frames and a rule looks at one frame at a time, so that each frame is asked once and its
 * answer kept. */
struct judge {
    const struct suppressions *list;
    const struct recording *rec;
    uint32_t *known; /* per frame: rule, REC_NONE or NOT_ASKED; NULL when memory was out: then it is asked
                        every time */
};

static uint32_t match_text(const struct suppressions *list, const char *text)
{
    for (uint32_t r = 0; r < list->count; r++)
        if (pattern_matches(list->rules[r].pattern, text))
            return r;
    return REC_NONE;
}

/* In LeakSanitizer's order, which decides which of several rules gets the credit: module, then line by line.
 */
static uint32_t match_frame(const struct judge *j, const struct rec_frame *frame)
{
    const struct recording *rec = j->rec;
    uint32_t rule = match_text(j->list, frame->module < rec->modules_count ? rec->modules[frame->module].path
                                                                           : NO_MODULE);
    for (uint32_t l = 0; rule == REC_NONE && l < frame->line_count; l++) {
        const struct rec_line *line = &rec->lines[frame->first_line + l];
        rule = match_text(j->list, line->function);
        if (rule == REC_NONE)
            rule = match_text(j->list, line->file);
    }
    return rule;
}

static uint32_t judge_frame(struct judge *j, uint32_t frame)
{
    if (!j->known)
        return match_frame(j, &j->rec->frames[frame]);
    if (j->known[frame] == NOT_ASKED)
        j->known[frame] = match_frame(j, &j->rec->frames[frame]);
    return j->known[frame];
}

static uint32_t judge_site(struct judge *j, uint32_t site)
{
    if (site >= j->rec->sites_count) /* REC_NONE: a block without a stack */
        return REC_NONE;
    const struct rec_site *s = &j->rec->sites[site];
    uint32_t rule = REC_NONE;
    for (uint32_t f = 0; rule == REC_NONE && f < s->frame_count; f++)
        rule = judge_frame(j, j->rec->frame_list[s->first_frame + f]);
    return rule;
}

static uint32_t judge_group(struct judge *j, const struct rec_group *g)
{
    uint32_t rule = judge_site(j, g->site);
    if (g->cls != REC_CYCLE)
        return rule;
    for (uint32_t b = 0; rule == REC_NONE && b < g->block_count; b++)
        rule = judge_site(j, j->rec->blocks[g->first_block + b].site);
    return rule;
}

static struct judge judge_new(const struct suppressions *list, const struct recording *rec)
{
    struct judge j = {.list = list, .rec = rec};
    j.known = malloc(((size_t)rec->frames_count + 1) * sizeof(*j.known));
    for (uint32_t f = 0; j.known && f < rec->frames_count; f++)
        j.known[f] = NOT_ASKED;
    return j;
}

static void rules_reset(struct suppressions *list)
{
    for (uint32_t r = 0; r < list->count; r++)
        list->rules[r].blocks = list->rules[r].bytes = 0;
}

uint32_t suppressions_apply(struct suppressions *list, struct recording *rec)
{
    struct suppressions none = {0};
    if (!list)
        list = &none;
    struct judge j = judge_new(list, rec);
    uint32_t left = 0;
    rules_reset(list);
    for (uint32_t i = 0; i < rec->groups_count; i++) {
        struct rec_group *g = &rec->groups[i];
        g->suppressed_by = REC_NONE;
        if (g->cls != REC_LOST && g->cls != REC_CYCLE)
            continue;
        g->suppressed_by = judge_group(&j, g);
        if (g->suppressed_by == REC_NONE) {
            left++;
            continue;
        }
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a rule was found, so there are rules. */
        list->rules[g->suppressed_by].blocks += g->blocks + g->indirect_blocks;
        list->rules[g->suppressed_by].bytes += g->bytes + g->indirect_bytes;
    }
    free(j.known);
    return left;
}

const char *suppression_text(const struct suppressions *list, uint32_t rule, uint64_t *ret_blocks,
                             uint64_t *ret_bytes)
{
    if (!list || rule >= list->count)
        return NULL;
    *ret_blocks = list->rules[rule].blocks;
    *ret_bytes = list->rules[rule].bytes;
    return list->rules[rule].pattern;
}
