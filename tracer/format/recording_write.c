/* SPDX-License-Identifier: MIT */
/* struct recording -> bytes of FORMAT.md part 3. Putting them into a file is recording_file.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "tracer/format/recording_layout.h"
#include "tracer/format/recording_pool.h"

#define LEVEL 3

struct payload {
    unsigned char *bytes;
    size_t used, size;
    struct rec_pool pool;
};

static const void *array_of(const struct recording *rec, const struct section *s)
{
    const char *at = (const char *)rec + s->array_offset;
    if (s->count_offset == 0)
        return at; /* meta is no array but lies in the recording itself */
    const void *array;
    memcpy(&array, at, sizeof array);
    return array;
}

static uint32_t count_of(const struct recording *rec, const struct section *s)
{
    uint32_t count = 1;
    if (s->count_offset != 0)
        memcpy(&count, (const char *)rec + s->count_offset, sizeof count);
    return count;
}

static bool encode_string(struct payload *p, const char *at, unsigned char *to)
{
    const char *text;
    memcpy(&text, at, sizeof text);
    uint32_t offset = 0;
    bool done = rec_pool_add(&p->pool, text == NULL ? "" : text, &offset);
    put_u32(to, offset);
    return done;
}

static bool encode_field(struct payload *p, const struct field *f, const char *element, unsigned char *to)
{
    const char *at = element + f->offset;
    switch (f->kind) {
    case FIELD_BYTES:
        memcpy(to, at, f->count);
        return true;
    case FIELD_STRING:
        return encode_string(p, at, to);
    case FIELD_U32:
        for (unsigned i = 0; i < f->count; i++) {
            uint32_t v;
            memcpy(&v, at + i * sizeof v, sizeof v);
            put_u32(to + i * sizeof v, v);
        }
        return true;
    case FIELD_U64:
        for (unsigned i = 0; i < f->count; i++) {
            uint64_t v;
            memcpy(&v, at + i * sizeof v, sizeof v);
            put_u64(to + i * sizeof v, v);
        }
        return true;
    }
    return false;
}

static bool encode_elements(struct payload *p, const struct recording *rec, const struct section *s)
{
    const char *element = array_of(rec, s);
    uint32_t count = count_of(rec, s);
    for (uint32_t i = 0; i < count; i++, element += s->element_size) {
        for (uint32_t f = 0; f < s->field_count; f++) {
            if (!encode_field(p, &s->fields[f], element, p->bytes + p->used))
                return false;
            p->used += layout_field_size(&s->fields[f]);
        }
    }
    return true;
}

static uint64_t section_length(const struct recording *rec, const struct section *s)
{
    return (uint64_t)count_of(rec, s) * layout_stride(s);
}

static void encode_toc_entry(struct payload *p, const struct section *s, size_t start)
{
    unsigned char *entry = p->bytes + HTZ_TOC_HEAD_SIZE + (size_t)(s->id - 1) * HTZ_TOC_ENTRY_SIZE;
    put_u32(entry, s->id);
    put_u32(entry + 4, layout_stride(s));
    put_u64(entry + 8, start);
    put_u64(entry + 16, p->used - start);
    put_u32(entry + 24, layout_crc32(p->bytes + start, p->used - start));
    put_u32(entry + 28, 0);
}

static size_t toc_size(void)
{
    return HTZ_TOC_HEAD_SIZE + (size_t)(SECTION_END - 1) * HTZ_TOC_ENTRY_SIZE;
}

/* All sections but the strings have a size that is known before a byte is written. */
static enum format_status open_payload(struct payload *p, const struct recording *rec)
{
    uint64_t size = toc_size();
    for (uint32_t i = 0; i < SECTION_END - 1; i++)
        if (layout_sections[i].id != SECTION_STRINGS)
            size += section_length(rec, &layout_sections[i]);
    if (size > HTZ_PAYLOAD_MAX) {
        errno = EFBIG;
        return FORMAT_IO;
    }
    p->size = size;
    p->used = toc_size();
    p->bytes = calloc(1, p->size);
    return p->bytes != NULL && rec_pool_open(&p->pool) ? FORMAT_OK : FORMAT_NO_MEMORY;
}

/* The strings are known when all that refers to them is written, so they come last. */
static enum format_status append_strings(struct payload *p)
{
    if (p->pool.used > HTZ_PAYLOAD_MAX - p->used) {
        errno = EFBIG;
        return FORMAT_IO;
    }
    unsigned char *bytes = realloc(p->bytes, p->used + p->pool.used);
    if (bytes == NULL)
        return FORMAT_NO_MEMORY;
    p->bytes = bytes;
    size_t start = p->used;
    memcpy(bytes + start, p->pool.bytes, p->pool.used);
    p->used += p->pool.used;
    encode_toc_entry(p, layout_section(SECTION_STRINGS), start);
    return FORMAT_OK;
}

static enum format_status build_payload(struct payload *p, const struct recording *rec)
{
    enum format_status status = open_payload(p, rec);
    if (status != FORMAT_OK)
        return status;
    for (uint32_t i = 0; i < SECTION_END - 1; i++) {
        const struct section *s = &layout_sections[i];
        if (s->id == SECTION_STRINGS)
            continue;
        size_t start = p->used;
        if (!encode_elements(p, rec, s))
            return FORMAT_NO_MEMORY;
        if (p->used - start != section_length(rec, s))
            return FORMAT_CORRUPT;
        encode_toc_entry(p, s, start);
    }
    if (p->used != p->size)
        return FORMAT_CORRUPT;
    status = append_strings(p);
    put_u32(p->bytes, SECTION_END - 1);
    put_u32(p->bytes + 4, layout_crc32(p->bytes + HTZ_TOC_HEAD_SIZE, toc_size() - HTZ_TOC_HEAD_SIZE));
    return status;
}

static void encode_header(unsigned char *to, size_t payload, size_t stored)
{
    memset(to, 0, HTZ_HEADER_SIZE);
    memcpy(to, HTZ_MAGIC, HTZ_MAGIC_SIZE);
    put_u16(to + HTZ_AT_MAJOR, HTZ_MAJOR);
    put_u16(to + HTZ_AT_MINOR, HTZ_MINOR);
    put_u64(to + HTZ_AT_PAYLOAD_SIZE, payload);
    put_u64(to + HTZ_AT_STORED_SIZE, stored);
    put_u32(to + HTZ_AT_CRC, layout_crc32(to, HTZ_AT_CRC));
}

static enum format_status compress(const struct payload *p, unsigned char **ret_bytes, size_t *ret_length)
{
    size_t bound = ZSTD_compressBound(p->used);
    unsigned char *bytes = malloc(HTZ_HEADER_SIZE + bound);
    if (bytes == NULL)
        return FORMAT_NO_MEMORY;
    size_t stored = ZSTD_compress(bytes + HTZ_HEADER_SIZE, bound, p->bytes, p->used, LEVEL);
    if (ZSTD_isError(stored)) { /* the destination has room for the worst case: what is left is memory */
        free(bytes);
        return FORMAT_NO_MEMORY;
    }
    encode_header(bytes, p->used, stored);
    *ret_bytes = bytes;
    *ret_length = HTZ_HEADER_SIZE + stored;
    return FORMAT_OK;
}

enum format_status recording_encode(const struct recording *rec, unsigned char **ret_bytes,
                                    size_t *ret_length)
{
    if (!recording_check(rec, NULL))
        return FORMAT_CORRUPT;
    struct payload p = {0};
    enum format_status status = build_payload(&p, rec);
    if (status == FORMAT_OK)
        status = compress(&p, ret_bytes, ret_length);
    rec_pool_close(&p.pool);
    free(p.bytes);
    return status;
}
