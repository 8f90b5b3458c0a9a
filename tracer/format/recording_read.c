/* SPDX-License-Identifier: MIT */
/*
 * Bytes of FORMAT.md part 3 -> struct recording. Nothing the file says is believed before it is compared with
 * what is there: a length is used only when that many bytes exist, an offset only when it lies inside, an
 * index only after recording_check().
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/format/recording_layout.h"
#include "tracer/format/recording_strings.h"
#include "tracer/format/recording_unpack.h"

struct span {
    const unsigned char *bytes;
    uint64_t length;
    uint32_t stride;
    bool found;
};

struct reader {
    const unsigned char *payload;
    uint64_t size;
    struct span sections[SECTION_END]; /* by id */
    char *strings;                     /* a copy that the recording takes over */
    uint64_t strings_length;
    const char *where; /* the part being read */
};

static enum format_status read_header(const unsigned char *bytes, size_t length, struct htz_header *ret)
{
    size_t compare = length < HTZ_MAGIC_SIZE ? length : HTZ_MAGIC_SIZE;
    if (memcmp(bytes, HTZ_MAGIC, compare) != 0)
        return FORMAT_FOREIGN;
    if (length < HTZ_HEADER_SIZE)
        return FORMAT_TRUNCATED;
    /* The checksum comes before the version: a flipped bit is damage, not news from the future. */
    if (get_u32(bytes + HTZ_AT_CRC) != layout_crc32(bytes, HTZ_AT_CRC))
        return FORMAT_CORRUPT;
    if (get_u16(bytes + HTZ_AT_MAJOR) > HTZ_MAJOR)
        return FORMAT_TOO_NEW;
    ret->payload_size = get_u64(bytes + HTZ_AT_PAYLOAD_SIZE);
    ret->stored_size = get_u64(bytes + HTZ_AT_STORED_SIZE);
    if (get_u16(bytes + HTZ_AT_MAJOR) == 0 || get_u32(bytes + HTZ_AT_FLAGS) != 0 ||
        get_u32(bytes + HTZ_AT_RESERVED) != 0 || ret->payload_size > HTZ_PAYLOAD_MAX ||
        ret->stored_size > HTZ_STORED_MAX)
        return FORMAT_CORRUPT;
    if (length - HTZ_HEADER_SIZE < ret->stored_size)
        return FORMAT_TRUNCATED;
    return length - HTZ_HEADER_SIZE > ret->stored_size ? FORMAT_CORRUPT : FORMAT_OK;
}

static bool read_toc_entry(struct reader *r, const unsigned char *entry, uint64_t toc_end)
{
    const struct section *s = layout_section(get_u32(entry));
    uint32_t stride = get_u32(entry + 4);
    uint64_t offset = get_u64(entry + 8);
    uint64_t length = get_u64(entry + 16);
    if (s != NULL)
        r->where = s->name;
    if (offset < toc_end || offset > r->size || length > r->size - offset)
        return false;
    if (s == NULL)
        return true; /* of a later minor version: skipped */
    struct span *span = &r->sections[s->id];
    if (span->found || stride < layout_least_stride(s) || stride > HTZ_STRIDE_MAX || length % stride != 0)
        return false;
    *span = (struct span){r->payload + offset, length, stride, true};
    return get_u32(entry + 24) == layout_crc32(span->bytes, length);
}

static bool read_toc(struct reader *r)
{
    r->where = "table of contents";
    if (r->size < HTZ_TOC_HEAD_SIZE)
        return false;
    uint32_t count = get_u32(r->payload);
    if (count > HTZ_TOC_MAX || (uint64_t)count * HTZ_TOC_ENTRY_SIZE > r->size - HTZ_TOC_HEAD_SIZE)
        return false;
    const unsigned char *entries = r->payload + HTZ_TOC_HEAD_SIZE;
    size_t length = (size_t)count * HTZ_TOC_ENTRY_SIZE;
    if (get_u32(r->payload + 4) != layout_crc32(entries, length))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        r->where = "table of contents";
        if (!read_toc_entry(r, entries + (size_t)i * HTZ_TOC_ENTRY_SIZE, HTZ_TOC_HEAD_SIZE + length))
            return false;
    }
    for (uint32_t i = 0; i < SECTION_END - 1; i++) {
        r->where = layout_sections[i].name;
        if (!r->sections[layout_sections[i].id].found)
            return false;
    }
    return true;
}

/* Every string ends, none is over-long; so any start of a string is safe to use. */
static enum format_status read_strings(struct reader *r, struct recording *rec)
{
    const struct span *span = &r->sections[SECTION_STRINGS];
    r->where = "strings";
    if (span->length == 0 || span->length > UINT32_MAX || span->stride != 1 ||
        span->bytes[span->length - 1] != '\0')
        return FORMAT_CORRUPT;
    for (uint64_t at = 0; at < span->length;) {
        size_t length = strlen((const char *)span->bytes + at);
        if (length > REC_STRING_MAX)
            return FORMAT_CORRUPT;
        at += length + 1;
    }
    r->strings = malloc(span->length);
    if (r->strings == NULL)
        return FORMAT_NO_MEMORY;
    memcpy(r->strings, span->bytes, span->length);
    r->strings_length = span->length;
    if (rec_strings_adopt(rec->strings, r->strings))
        return FORMAT_OK;
    free(r->strings);
    return FORMAT_NO_MEMORY;
}

/* An offset counts only where a string starts: suffixes would let a small file stand for unlimited distinct
 * text. */
static char *string_at(const struct reader *r, uint32_t offset)
{
    if (offset >= r->strings_length || (offset > 0 && r->strings[offset - 1] != '\0'))
        return NULL;
    return r->strings + offset;
}

/* Meta strings are each the recording's own, all others point into the adopted copy. */
static enum format_status decode_string(const struct reader *r, bool own, const unsigned char *from, char *to)
{
    char *text = string_at(r, get_u32(from));
    if (text == NULL)
        return FORMAT_CORRUPT;
    if (own) {
        char *old;
        memcpy(&old, to, sizeof old);
        text = recording_strdup(text);
        if (text == NULL)
            return FORMAT_NO_MEMORY;
        free(old);
    }
    memcpy(to, &text, sizeof text);
    return FORMAT_OK;
}

static void decode_numbers(const struct field *f, const unsigned char *from, char *to)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (f->kind == FIELD_U32) {
            uint32_t v = get_u32(from + i * sizeof v);
            memcpy(to + i * sizeof v, &v, sizeof v);
        } else {
            uint64_t v = get_u64(from + i * sizeof v);
            memcpy(to + i * sizeof v, &v, sizeof v);
        }
    }
}

/* What an older file has no room for stays 0. */
static enum format_status decode_element(const struct reader *r, const struct section *s,
                                         const unsigned char *from, char *element)
{
    const unsigned char *end = from + r->sections[s->id].stride;
    for (uint32_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        if (layout_field_size(f) > (size_t)(end - from))
            break;
        char *to = element + f->offset;
        if (f->kind == FIELD_STRING) {
            enum format_status status = decode_string(r, s->count_offset == 0, from, to);
            if (status != FORMAT_OK)
                return status;
        } else if (f->kind == FIELD_BYTES) {
            memcpy(to, from, f->count);
        } else {
            decode_numbers(f, from, to);
        }
        from += layout_field_size(f);
    }
    return FORMAT_OK;
}

/* Room for the section's elements in the recording; its count and capacity (which follows the count) are set.
 */
static enum format_status make_array(struct recording *rec, const struct section *s, uint64_t count,
                                     char **ret)
{
    if (s->count_offset == 0) {
        *ret = (char *)rec + s->array_offset;
        return count == 1 ? FORMAT_OK : FORMAT_CORRUPT;
    }
    if (count >= REC_NONE)
        return FORMAT_CORRUPT;
    uint32_t counts[2] = {(uint32_t)count, (uint32_t)count};
    *ret = calloc(count == 0 ? 1 : count, s->element_size);
    if (*ret == NULL)
        return FORMAT_NO_MEMORY;
    memcpy((char *)rec + s->array_offset, ret, sizeof *ret);
    memcpy((char *)rec + s->count_offset, counts, sizeof counts);
    return FORMAT_OK;
}

static enum format_status read_section(struct reader *r, const struct section *s, struct recording *rec)
{
    const struct span *span = &r->sections[s->id];
    r->where = s->name;
    uint64_t count = span->length / span->stride;
    char *element;
    enum format_status status = make_array(rec, s, count, &element);
    for (uint64_t i = 0; i < count && status == FORMAT_OK; i++)
        status = decode_element(r, s, span->bytes + i * span->stride, element + i * s->element_size);
    return status;
}

static enum format_status read_payload(struct reader *r, struct recording *rec)
{
    if (!read_toc(r))
        return FORMAT_CORRUPT;
    enum format_status status = read_strings(r, rec);
    for (uint32_t i = 0; i < SECTION_END - 1 && status == FORMAT_OK; i++)
        if (layout_sections[i].id != SECTION_STRINGS)
            status = read_section(r, &layout_sections[i], rec);
    if (status != FORMAT_OK)
        return status;
    for (uint32_t i = 0; i < rec->groups_count; i++)
        rec->groups[i].suppressed_by = REC_NONE;
    return recording_check(rec, &r->where) ? FORMAT_OK : FORMAT_CORRUPT;
}

enum format_status recording_decode(const void *bytes, size_t length, struct recording **ret,
                                    const char **ret_where)
{
    struct reader r = {.where = "header"};
    struct htz_header header;
    unsigned char *payload = NULL;
    struct recording *rec = NULL;
    enum format_status status = read_header(bytes, length, &header);
    if (status == FORMAT_OK) {
        r.where = "compressed data";
        status = unpack((const unsigned char *)bytes + HTZ_HEADER_SIZE, &header, &payload);
    }
    if (status == FORMAT_OK) {
        r.payload = payload;
        r.size = header.payload_size;
        rec = recording_new();
        status = rec == NULL ? FORMAT_NO_MEMORY : read_payload(&r, rec);
    }
    free(payload);
    if (ret_where != NULL)
        *ret_where = r.where;
    if (status != FORMAT_OK) {
        recording_free(rec);
        return status;
    }
    *ret = rec;
    return FORMAT_OK;
}
