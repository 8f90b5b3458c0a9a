/* SPDX-License-Identifier: MIT */
/* The rows of recording_layout.h, in FORMAT.md's order. */
#include "tracer/format/recording_layout.h"

#include <stddef.h>

#define U32(type, member)                                                                                    \
    {                                                                                                        \
        offsetof(struct type, member), 1, FIELD_U32                                                          \
    }
#define U64(type, member)                                                                                    \
    {                                                                                                        \
        offsetof(struct type, member), 1, FIELD_U64                                                          \
    }
#define U64S(type, member)                                                                                   \
    {                                                                                                        \
        offsetof(struct type, member), REC_CLASSES, FIELD_U64                                                \
    }
#define TEXT(type, member)                                                                                   \
    {                                                                                                        \
        offsetof(struct type, member), 1, FIELD_STRING                                                       \
    }
#define BYTES(type, member)                                                                                  \
    {                                                                                                        \
        offsetof(struct type, member), sizeof((struct type *)0)->member, FIELD_BYTES                         \
    }

static const struct field meta_fields[] = {
    TEXT(rec_meta, program),        TEXT(rec_meta, command),
    TEXT(rec_meta, why_not),        TEXT(rec_meta, reason),
    TEXT(rec_meta, memory_source),  TEXT(rec_meta, unwinder),
    TEXT(rec_meta, tool_version),   U32(rec_meta, pid),
    U32(rec_meta, parent),          U32(rec_meta, status),
    U32(rec_meta, verdict),         U32(rec_meta, generation),
    U32(rec_meta, threads),         U32(rec_meta, unparked_threads),
    U64(rec_meta, started),         U64(rec_meta, checked),
    U64(rec_meta, freeze_us),       U64(rec_meta, check_us),
    U64(rec_meta, allocations),     U64(rec_meta, frees),
    U64(rec_meta, unrecorded),      U64S(rec_meta, class_blocks),
    U64S(rec_meta, class_bytes),    U64(rec_meta, inherited_blocks),
    U64(rec_meta, inherited_bytes), U64(rec_meta, references),
};

static const struct field module_fields[] = {
    TEXT(rec_module, path),      U64(rec_module, start),           U64(rec_module, end),
    U64(rec_module, bias),       U32(rec_module, generation),      U32(rec_module, unloaded),
    BYTES(rec_module, build_id), U32(rec_module, build_id_length),
};

static const struct field line_fields[] = {
    TEXT(rec_line, function), TEXT(rec_line, file),   U32(rec_line, line),
    U32(rec_line, column),    U32(rec_line, inlined),
};

static const struct field frame_fields[] = {
    U64(rec_frame, ip),
    U32(rec_frame, module),
    U32(rec_frame, first_line),
    U32(rec_frame, line_count),
};

static const struct field frame_list_fields[] = {{0, 1, FIELD_U32}};

static const struct field site_fields[] = {
    U32(rec_site, first_frame),
    U32(rec_site, frame_count),
    U32(rec_site, end),
};

static const struct field group_fields[] = {
    U32(rec_group, cls),
    U32(rec_group, site),
    U32(rec_group, kind),
    U32(rec_group, instances),
    U64(rec_group, blocks),
    U64(rec_group, bytes),
    U64(rec_group, indirect_blocks),
    U64(rec_group, indirect_bytes),
    U64(rec_group, capacity),
    U64(rec_group, references),
    U64(rec_group, from_self),
    U64(rec_group, from_inside),
    U32(rec_group, first_block),
    U32(rec_group, block_count),
    U32(rec_group, first_edge),
    U32(rec_group, edge_count),
    /* 1.1 */
    U64(rec_group, aged_blocks),
    U64(rec_group, oldest_ms),
    U64(rec_group, newest_ms),
};

static const struct field block_fields[] = {
    U64(rec_block, addr),
    U64(rec_block, size),
    U64(rec_block, capacity),
    U32(rec_block, site),
    U32(rec_block, kind),
    U32(rec_block, refs_start),
    U32(rec_block, refs_interior),
    U32(rec_block, refs_self),
    U32(rec_block, instance),
    /* 1.1 */
    U32(rec_block, has_age),
    U64(rec_block, age_ms),
};

static const struct field edge_fields[] = {
    U32(rec_edge, from_block), U32(rec_edge, from_root), U32(rec_edge, to_block),
    U32(rec_edge, reserved),   U64(rec_edge, offset),    U64(rec_edge, to_offset),
};

static const struct field root_fields[] = {TEXT(rec_root, name), U32(rec_root, strict)};

static const struct field note_fields[] = {{0, 1, FIELD_STRING}};

#define COUNT(fields) (sizeof(fields) / sizeof((fields)[0]))
#define ROWS(fields)  fields, COUNT(fields), COUNT(fields)
/* So many of them are younger than 1.0. */
#define GROWN(fields, added) fields, COUNT(fields), COUNT(fields) - (added)
#define ARRAY(array)                                                                                         \
    sizeof *((struct recording *)0)->array, offsetof(struct recording, array),                               \
        offsetof(struct recording, array##_count)

const struct section layout_sections[SECTION_END - 1] = {
    {SECTION_META, "meta", ROWS(meta_fields), sizeof(struct rec_meta), offsetof(struct recording, meta), 0},
    {SECTION_STRINGS, "strings", NULL, 0, 0, 1, 0, 0},
    {SECTION_MODULES, "modules", ROWS(module_fields), ARRAY(modules)},
    {SECTION_LINES, "lines", ROWS(line_fields), ARRAY(lines)},
    {SECTION_FRAMES, "frames", ROWS(frame_fields), ARRAY(frames)},
    {SECTION_FRAME_LIST, "frame list", ROWS(frame_list_fields), ARRAY(frame_list)},
    {SECTION_SITES, "sites", ROWS(site_fields), ARRAY(sites)},
    {SECTION_GROUPS, "groups", GROWN(group_fields, 3), ARRAY(groups)},
    {SECTION_BLOCKS, "blocks", GROWN(block_fields, 2), ARRAY(blocks)},
    {SECTION_EDGES, "edges", ROWS(edge_fields), ARRAY(edges)},
    {SECTION_ROOTS, "roots", ROWS(root_fields), ARRAY(roots)},
    {SECTION_NOTES, "notes", ROWS(note_fields), ARRAY(notes)},
};

uint32_t layout_field_size(const struct field *f)
{
    static const uint8_t size[] = {[FIELD_U32] = 4, [FIELD_U64] = 8, [FIELD_BYTES] = 1, [FIELD_STRING] = 4};
    return size[f->kind] * (uint32_t)f->count;
}

static uint32_t stride_of(const struct section *s, uint32_t fields)
{
    uint32_t stride = fields == 0 ? 1 : 0;
    for (uint32_t i = 0; i < fields; i++)
        stride += layout_field_size(&s->fields[i]);
    return stride;
}

uint32_t layout_stride(const struct section *s)
{
    return stride_of(s, s->field_count);
}

uint32_t layout_least_stride(const struct section *s)
{
    return stride_of(s, s->least_fields);
}

const struct section *layout_section(uint32_t id)
{
    return id >= SECTION_META && id < SECTION_END ? &layout_sections[id - 1] : NULL;
}

/* Bit by bit for sixteen values, then four bits a step: 64 bytes of table, and no state to initialise. */
uint32_t layout_crc32(const void *bytes, size_t length)
{
    uint32_t nibble[16];
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 4; bit++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
        nibble[i] = c;
    }
    const unsigned char *at = bytes;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < length; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}
