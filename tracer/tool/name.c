/* SPDX-License-Identifier: MIT */
#include "tracer/tool/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool has_letter(const char *pattern, char letter)
{
    for (const char *p = strchr(pattern, '%'); p && p[1]; p = strchr(p + 2, '%'))
        if (p[1] == letter)
            return true;
    return false;
}

bool name_pattern_is_good(const char *pattern, char *error, size_t error_size)
{
    struct stat st;
    size_t length = strlen(pattern);

    for (const char *p = strchr(pattern, '%'); p; p = strchr(p + 2, '%')) {
        if (p[1] == '\0' || !strchr("pe%", p[1])) {
            snprintf(error, error_size, "'%s' is no output name: after '%%' comes p, e or %%", pattern);
            return false;
        }
    }
    if (length == 0 || pattern[length - 1] == '/') {
        snprintf(error, error_size, "'%s' is no output name: a file is needed", pattern);
        return false;
    }
    if (stat(pattern, &st) == 0 && !S_ISREG(st.st_mode)) {
        snprintf(error, error_size, "'%s' is not a regular file, a recording would replace it", pattern);
        return false;
    }
    return true;
}

static const char *base_name(const char *program)
{
    const char *slash = strrchr(program, '/');
    return slash && slash[1] ? slash + 1 : program;
}

static void put_program(FILE *out, const char *program)
{
    for (const char *p = base_name(program); *p; p++)
        putc((unsigned char)*p < ' ' || *p == 0x7f || *p == '/' ? '_' : *p, out);
}

char *name_expand(const char *pattern, const char *program, int pid, bool is_child)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    for (const char *p = pattern; *p; p++) {
        if (*p != '%' || p[1] == '\0') {
            putc(*p, out);
            continue;
        }
        p++;
        if (*p == 'p')
            fprintf(out, "%d", pid);
        else if (*p == 'e')
            put_program(out, program);
        else
            putc(*p, out);
    }
    if (is_child && !has_letter(pattern, 'p'))
        fprintf(out, ".%d", pid);
    bool bad = ferror(out);
    if (fclose(out) != 0 || bad) {
        free(text);
        return NULL;
    }
    return text;
}

static bool is_used(const void *ctx, const char *name)
{
    const struct names *names = ctx;
    for (unsigned i = 0; i < names->count; i++)
        if (strcmp(names->used[i], name) == 0)
            return true;
    return false;
}

/* "out.htz" -> "out.2.htz", "out" -> "out.2". */
static char *numbered(const char *name, unsigned number)
{
    char *result;
    size_t length = strlen(name);
    size_t stem = length > 4 && strcmp(name + length - 4, ".htz") == 0 ? length - 4 : length;
    return asprintf(&result, "%.*s.%u%s", (int)stem, name, number, name + stem) < 0 ? NULL : result;
}

static bool is_file(const void *ctx, const char *name)
{
    struct stat st;
    (void)ctx;
    return lstat(name, &st) == 0;
}

/* The first of name, name.2, name.3, ... that is not taken. Takes over name. */
static char *first_free(char *name, bool (*is_taken)(const void *ctx, const char *name), const void *ctx)
{
    char *next = NULL;
    if (!name || !is_taken(ctx, name))
        return name;
    for (unsigned number = 2; (next = numbered(name, number)) && is_taken(ctx, next); number++)
        free(next);
    free(name);
    return next;
}

char *name_unused(char *name)
{
    return first_free(name, is_file, NULL);
}

const char *names_take(struct names *names, char *name)
{
    if (!name)
        return NULL;
    if (names->count == names->capacity) {
        unsigned capacity = names->capacity ? 2 * names->capacity : 16;
        char **used = realloc(names->used, capacity * sizeof(*used));
        if (!used) {
            free(name);
            return NULL;
        }
        names->used = used;
        names->capacity = capacity;
    }
    name = first_free(name, is_used, names);
    if (name)
        names->used[names->count++] = name;
    return name;
}

void names_free(struct names *names)
{
    for (unsigned i = 0; i < names->count; i++)
        free(names->used[i]);
    free(names->used);
    *names = (struct names){0};
}
