/* SPDX-License-Identifier: MIT */
/*
 * recording_fixture.h - a small recording with something in every array, for the tests of its readers and printers.
 *
 *    groups: 0 lost (block 0, site 0) | 1 a cycle of 3 (blocks 1 2 3, sites 1 0 1) | 2 possible (block 4, by root 0)
 *    sites:  0 make_node (inlined) in make_ring, main, __libc_start_main, _start
 *            1 operator new, Holder::Holder(int), main
 */
#ifndef HEAPTALLY_RECORDING_FIXTURE_H
#define HEAPTALLY_RECORDING_FIXTURE_H

#include <stdlib.h>

#include "tracer/format/recording.h"
#include "tracer/format/tables.h"

#define TEXT(literal) recording_strdup(literal)

/* Takes over both strings. */
static inline uint32_t fixture_line(struct recording *rec, char *function, char *file, uint32_t line,
                                    bool inlined)
{
    struct rec_line l = {.function = function, .file = file, .line = line, .column = 3, .inlined = inlined};
    uint32_t index = recording_add_line(rec, &l);
    free(function);
    free(file);
    return index;
}

static inline uint32_t fixture_frame(struct recording *rec, uint64_t ip, uint32_t module, uint32_t first,
                                     uint32_t count)
{
    struct rec_frame f = {.ip = ip, .module = module, .first_line = first, .line_count = count};
    return recording_add_frame(rec, &f);
}

static inline void fixture_modules(struct recording *rec)
{
    struct rec_module m = {.path = TEXT("/opt/leaky/bin/leaky"),
                           .start = 0x555555554000,
                           .end = 0x555555560000,
                           .bias = 0x555555554000,
                           .generation = 1,
                           .build_id = {0xde, 0xad, 0xbe, 0xef},
                           .build_id_length = 4};
    recording_add_module(rec, &m);
    free(m.path);
    m = (struct rec_module){
        .path = TEXT("/usr/lib/libc.so.6"), .start = 0x7f0000000000, .end = 0x7f0000200000};
    m.bias = m.start;
    recording_add_module(rec, &m);
    free(m.path);
}

static inline void fixture_stacks(struct recording *rec)
{
    fixture_line(rec, TEXT("make_node"), TEXT("src/ring.c"), 17, true);
    fixture_line(rec, TEXT("make_ring"), TEXT("src/ring.c"), 30, false);
    fixture_line(rec, TEXT("main"), TEXT("src/main.c"), 9, false);
    fixture_line(rec, TEXT("__libc_start_main"), TEXT(""), 0, false);
    fixture_line(rec, TEXT("_start"), TEXT(""), 0, false);
    fixture_line(rec, TEXT("operator new(unsigned long)"), TEXT(""), 0, false);
    fixture_line(rec, TEXT("Holder::Holder(int)"), TEXT("src/holder.cc"), 44, false);
    uint32_t ring = fixture_frame(rec, 0x555555555100, 0, 0, 2);
    uint32_t main_frame = fixture_frame(rec, 0x555555555200, 0, 2, 1);
    uint32_t libc = fixture_frame(rec, 0x7f0000001000, 1, 3, 1);
    uint32_t start = fixture_frame(rec, 0x555555555010, 0, 4, 1);
    uint32_t new_frame = fixture_frame(rec, 0x7f0000002000, REC_NONE, 5, 1);
    uint32_t holder = fixture_frame(rec, 0x555555555300, 0, 6, 1);
    uint32_t bare = fixture_frame(rec, 0x555555555400, 0, 0, 0);
    recording_add_site(rec, (uint32_t[]){ring, main_frame, libc, start}, 4, SITE_END_COMPLETE);
    recording_add_site(rec, (uint32_t[]){new_frame, holder, bare}, 3, SITE_END_NO_INFO);
}

static inline void fixture_block(struct recording *rec, uint32_t number, uint32_t site, uint32_t refs)
{
    struct rec_block b = {
        .addr = 0x7e0000000000 + number * 64, .size = 40 + number, .capacity = 48, .site = site};
    b.has_age = number < 2;
    b.age_ms = number < 2 ? 720000 : 0;
    b.kind = site == 1 ? KIND_NEW : KIND_MALLOC;
    b.refs_start = refs;
    recording_add_block(rec, &b);
}

static inline void fixture_edges(struct recording *rec)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct rec_edge e = {
            .from_block = 1 + i, .from_root = REC_NONE, .to_block = 1 + (i + 1) % 3, .offset = 16};
        recording_add_edge(rec, &e);
    }
    struct rec_root r = {.name = TEXT("anonymous mapping [pool]"), .strict = 0};
    recording_add_root(rec, &r);
    free(r.name);
    struct rec_edge e = {
        .from_block = REC_NONE, .from_root = 0, .to_block = 4, .offset = 0x7d0000000040, .to_offset = 8};
    recording_add_edge(rec, &e);
}

static inline void fixture_groups(struct recording *rec)
{
    struct rec_group lost = {
        .cls = REC_LOST, .site = 0, .kind = KIND_MALLOC, .instances = 1, .blocks = 1, .bytes = 40};
    lost.indirect_blocks = 2;
    lost.indirect_bytes = 64;
    lost.block_count = 1;
    lost.aged_blocks = 1;
    lost.oldest_ms = lost.newest_ms = 720000;
    struct rec_group cycle = {.cls = REC_CYCLE, .site = 0, .kind = KIND_MALLOC, .instances = 1, .blocks = 3};
    cycle.bytes = 41 + 42 + 43;
    cycle.references = cycle.from_inside = 3;
    cycle.first_block = 1;
    cycle.aged_blocks = 2;
    cycle.oldest_ms = 720000;
    cycle.newest_ms = 3000;
    cycle.block_count = cycle.edge_count = 3;
    struct rec_group possible = {
        .cls = REC_POSSIBLE, .site = 0, .kind = KIND_MALLOC, .instances = 1, .blocks = 1};
    possible.bytes = 44;
    possible.references = 1;
    possible.first_block = 4;
    possible.first_edge = 3;
    possible.block_count = possible.edge_count = 1;
    recording_add_group(rec, &lost);
    recording_add_group(rec, &cycle);
    recording_add_group(rec, &possible);
}

static inline void fixture_meta(struct rec_meta *m)
{
    recording_set(&m->program, "/opt/leaky/bin/leaky");
    recording_set(&m->command, "./leaky --twice");
    recording_set(&m->reason, "exit");
    recording_set(&m->memory_source, "process_vm_readv");
    recording_set(&m->unwinder, "libunwind 1.6.2");
    recording_set(&m->tool_version, "0.1.0");
    m->pid = 4711;
    m->status = -1; /* sign must survive */
    m->verdict = REC_LEAKS;
    m->threads = 2;
    m->allocations = 1234567;
    m->frees = 1234000;
    m->references = 99;
    const uint64_t blocks[REC_CLASSES] = {100, 1, 1, 3, 2};
    const uint64_t bytes[REC_CLASSES] = {123456, 44, 40, 126, 64};
    for (int c = 0; c < REC_CLASSES; c++) {
        m->class_blocks[c] = blocks[c];
        m->class_bytes[c] = bytes[c];
    }
}

static inline struct recording *fixture_recording(void)
{
    struct recording *rec = recording_new();
    if (rec == NULL)
        abort();
    fixture_meta(&rec->meta);
    fixture_modules(rec);
    fixture_stacks(rec);
    for (uint32_t i = 0; i < 5; i++)
        fixture_block(rec, i, i == 1 || i == 3, i == 0 ? 0 : 1);
    fixture_edges(rec);
    fixture_groups(rec);
    recording_add_note(rec, "thread 7 was not parked");
    if (!recording_check(rec, NULL))
        abort();
    return rec;
}

#endif
