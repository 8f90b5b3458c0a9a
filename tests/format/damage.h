/* SPDX-License-Identifier: MIT */
/*
 * damage.h - a recording's payload laid open, changed, and closed again with right checksums where wanted; for tests.
 *
 *    encode -> unpack -> (change) -> seal: section and table checksums, zstd, header
 */
#ifndef HEAPTALLY_DAMAGE_H
#define HEAPTALLY_DAMAGE_H

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "tracer/format/recording_layout.h"

struct opened {
    unsigned char *payload;
    size_t size;
};

static inline struct opened damage_open(const unsigned char *file)
{
    struct opened o = {NULL, get_u64(file + HTZ_AT_PAYLOAD_SIZE)};
    o.payload = malloc(o.size);
    if (o.payload == NULL || ZSTD_decompress(o.payload, o.size, file + HTZ_HEADER_SIZE,
                                             get_u64(file + HTZ_AT_STORED_SIZE)) != o.size)
        abort();
    return o;
}

static inline unsigned char *damage_entry(const struct opened *o, enum section_id id)
{
    unsigned char *entry = o->payload + HTZ_TOC_HEAD_SIZE;
    for (uint32_t i = 0; i < get_u32(o->payload); i++, entry += HTZ_TOC_ENTRY_SIZE)
        if (get_u32(entry) == id)
            return entry;
    abort();
}

static inline unsigned char *damage_section(const struct opened *o, enum section_id id)
{
    return o->payload + get_u64(damage_entry(o, id) + 8);
}

static inline void damage_fix_section(const struct opened *o, enum section_id id)
{
    unsigned char *entry = damage_entry(o, id);
    put_u32(entry + 24, layout_crc32(o->payload + get_u64(entry + 8), get_u64(entry + 16)));
}

static inline void damage_fix_toc(const struct opened *o)
{
    size_t length = (size_t)get_u32(o->payload) * HTZ_TOC_ENTRY_SIZE;
    put_u32(o->payload + 4, layout_crc32(o->payload + HTZ_TOC_HEAD_SIZE, length));
}

static inline void damage_fix_header(unsigned char *file)
{
    put_u32(file + HTZ_AT_CRC, layout_crc32(file, HTZ_AT_CRC));
}

/* The file again, the caller's to free; the payload stays open. */
static inline unsigned char *damage_close(const struct opened *o, size_t *ret_length)
{
    size_t bound = ZSTD_compressBound(o->size);
    unsigned char *file = calloc(1, HTZ_HEADER_SIZE + bound);
    if (file == NULL)
        abort();
    size_t stored = ZSTD_compress(file + HTZ_HEADER_SIZE, bound, o->payload, o->size, 1);
    memcpy(file, HTZ_MAGIC, HTZ_MAGIC_SIZE);
    put_u16(file + HTZ_AT_MAJOR, HTZ_MAJOR);
    put_u64(file + HTZ_AT_PAYLOAD_SIZE, o->size);
    put_u64(file + HTZ_AT_STORED_SIZE, stored);
    damage_fix_header(file);
    *ret_length = HTZ_HEADER_SIZE + stored;
    return file;
}

#endif
