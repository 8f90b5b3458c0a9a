/* SPDX-License-Identifier: MIT */
/*
 * recording_layout.h - the bytes of a .htz file as tables, private to the recording's writer and reader.
 *
 *    header (plain) | zstd( table of contents | section | section | ... )
 *
 * One row per section, one entry per field: the writer and the reader walk the same rows in opposite
 * directions, so they cannot disagree about an offset. FORMAT.md specifies the bytes; a change there comes
 * first, then here.
 *
 * Invariants: a section's `stride` is the sum of its fields' encoded sizes (layout_stride() computes it).
 * Fields are only ever appended: an older reader skips what it does not know by the stride in the table of
 * contents, and a newer one leaves at zero what an older file's stride has no room for.
 */
#ifndef HEAPTALLY_RECORDING_LAYOUT_H
#define HEAPTALLY_RECORDING_LAYOUT_H

#include <stdint.h>

#include "tracer/format/recording.h"

#define HTZ_MAGIC       "\x89HTZ\r\n\x1a\n"
#define HTZ_MAGIC_SIZE  8u
#define HTZ_MAJOR       1u
#define HTZ_MINOR       1u
#define HTZ_HEADER_SIZE 40u

/* Offsets in the header. */
#define HTZ_AT_MAJOR        8u
#define HTZ_AT_MINOR        10u
#define HTZ_AT_FLAGS        12u
#define HTZ_AT_PAYLOAD_SIZE 16u
#define HTZ_AT_STORED_SIZE  24u
#define HTZ_AT_RESERVED     32u
#define HTZ_AT_CRC          36u

/* The table of contents: a head, then an entry per section. */
#define HTZ_TOC_HEAD_SIZE  8u
#define HTZ_TOC_ENTRY_SIZE 32u
#define HTZ_TOC_MAX        64u

/* A file that claims more than this is refused before a byte of it is unpacked. */
#define HTZ_PAYLOAD_MAX (512ull << 20)
/* zstd may make incompressible data a little longer. */
#define HTZ_STORED_MAX (HTZ_PAYLOAD_MAX + (HTZ_PAYLOAD_MAX >> 7))
/* Unpacking never needs a larger history than this, whatever the frame asks for. */
#define HTZ_WINDOW_LOG 24
/* A damaged or hostile stride may not make one record span everything. */
#define HTZ_STRIDE_MAX 4096u

enum section_id {
    SECTION_META = 1,
    SECTION_STRINGS,
    SECTION_MODULES,
    SECTION_LINES,
    SECTION_FRAMES,
    SECTION_FRAME_LIST,
    SECTION_SITES,
    SECTION_GROUPS,
    SECTION_BLOCKS,
    SECTION_EDGES,
    SECTION_ROOTS,
    SECTION_NOTES,
    SECTION_END, /* one past the last known */
};

enum field_kind { FIELD_U32, FIELD_U64, FIELD_BYTES, FIELD_STRING };

struct field {
    uint16_t offset; /* in the struct */
    uint16_t count;  /* of elements; 1 for a string */
    enum field_kind kind;
};

struct section {
    enum section_id id;
    const char *name; /* what ret_where says */
    const struct field *fields;
    uint32_t field_count;  /* 0: the strings, which are bytes */
    uint32_t least_fields; /* those of 1.0, which every file has */
    uint32_t element_size; /* of the struct in memory */
    uint32_t array_offset; /* of the array's pointer in struct recording; meta: of the struct itself */
    uint32_t count_offset; /* of the array's count, its capacity follows; 0: meta, always one */
};

extern const struct section layout_sections[SECTION_END - 1]; /* in the order of ids */

uint32_t layout_stride(const struct section *s);
uint32_t layout_least_stride(const struct section *s);
uint32_t layout_field_size(const struct field *f);
const struct section *layout_section(uint32_t id); /* NULL: not known */

/* CRC-32 as in Ethernet and zlib: reflected polynomial 0xedb88320, start and end inverted. */
uint32_t layout_crc32(const void *bytes, size_t length);

/* Little endian, whatever the machine is. */
static inline void put_u16(unsigned char *at, uint16_t v)
{
    at[0] = (unsigned char)v;
    at[1] = (unsigned char)(v >> 8);
}

static inline void put_u32(unsigned char *at, uint32_t v)
{
    put_u16(at, (uint16_t)v);
    put_u16(at + 2, (uint16_t)(v >> 16));
}

static inline void put_u64(unsigned char *at, uint64_t v)
{
    put_u32(at, (uint32_t)v);
    put_u32(at + 4, (uint32_t)(v >> 32));
}

static inline uint16_t get_u16(const unsigned char *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t get_u32(const unsigned char *at)
{
    return get_u16(at) | (uint32_t)get_u16(at + 2) << 16;
}

static inline uint64_t get_u64(const unsigned char *at)
{
    return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

#endif
