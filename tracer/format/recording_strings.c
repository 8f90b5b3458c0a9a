/* SPDX-License-Identifier: MIT */
#include "tracer/format/recording_strings.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/format/recording.h"

#define CHUNK_SIZE  (64u << 10)
#define FIRST_SLOTS 256u

struct chunk {
    struct chunk *next;
    char *bytes;
    size_t used, size;
};

struct rec_strings {
    struct chunk *chunks; /* the newest first; the one that small strings go to is the first with room */
    char **slots;         /* at most half full; NULL: free */
    size_t slot_count, used;
};

struct rec_strings *rec_strings_new(void)
{
    struct rec_strings *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->slot_count = FIRST_SLOTS;
    s->slots = calloc(s->slot_count, sizeof *s->slots);
    if (s->slots == NULL) {
        free(s);
        return NULL;
    }
    return s;
}

void rec_strings_free(struct rec_strings *s)
{
    if (s == NULL)
        return;
    for (struct chunk *c = s->chunks; c != NULL;) {
        struct chunk *next = c->next;
        free(c->bytes);
        free(c);
        c = next;
    }
    free(s->slots);
    free(s);
}

static struct chunk *chunk_push(struct rec_strings *s, char *bytes, size_t size)
{
    struct chunk *c = malloc(sizeof *c);
    if (c == NULL)
        return NULL;
    *c = (struct chunk){.next = s->chunks, .bytes = bytes, .used = 0, .size = size};
    s->chunks = c;
    return c;
}

bool rec_strings_adopt(struct rec_strings *s, char *bytes)
{
    /* Size 0: it never looks as if it had room. */
    return chunk_push(s, bytes, 0) != NULL;
}

static char *chunk_take(struct rec_strings *s, size_t length)
{
    struct chunk *c = s->chunks;
    if (c == NULL || c->size - c->used < length) {
        size_t size = length > CHUNK_SIZE ? length : CHUNK_SIZE;
        char *bytes = malloc(size);
        c = bytes == NULL ? NULL : chunk_push(s, bytes, size);
        if (c == NULL) {
            free(bytes);
            return NULL;
        }
    }
    char *at = c->bytes + c->used;
    c->used += length;
    return at;
}

/* FNV-1a: short inputs, no adversary (a hostile file's strings are adopted, never hashed). */
static uint64_t hash(const char *text, size_t length)
{
    uint64_t h = 14695981039346656037ull;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211ull;
    return h ^ h >> 32;
}

/* The slot that holds the text, or the free one where it belongs. */
static size_t find(char *const *slots, size_t count, const char *text, size_t length)
{
    size_t i = hash(text, length) & (count - 1);
    while (slots[i] != NULL && (strncmp(slots[i], text, length) != 0 || slots[i][length] != '\0'))
        i = (i + 1) & (count - 1);
    return i;
}

static bool grow(struct rec_strings *s)
{
    size_t count = s->slot_count * 2;
    char **slots = calloc(count, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < s->slot_count; i++)
        if (s->slots[i] != NULL)
            slots[find(slots, count, s->slots[i], strlen(s->slots[i]))] = s->slots[i];
    free(s->slots);
    s->slots = slots;
    s->slot_count = count;
    return true;
}

char *rec_strings_intern(struct rec_strings *s, const char *text)
{
    if (text == NULL)
        text = "";
    size_t length = strnlen(text, REC_STRING_MAX);
    if (s->used * 2 >= s->slot_count && !grow(s))
        return NULL;
    size_t slot = find(s->slots, s->slot_count, text, length);
    if (s->slots[slot] != NULL)
        return s->slots[slot];
    char *copy = chunk_take(s, length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    s->slots[slot] = copy;
    s->used++;
    return copy;
}
