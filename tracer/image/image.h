/* SPDX-License-Identifier: MIT */
/*
 * image.h - a frozen process as one view: its blocks, its roots, and the words in them.
 *
 *    process_vm_readv --.                       .--> blocks   (allocator/walk, ledgers)
 *    socket (READ/MAPS) -+-> memory_source --> image --> regions (maps), modules, threads
 *    (a core file, later)'                      '--> image_scan: references, root by root, block by block
 *
 * The image copies what it needs once (ledgers, tables, maps, thread slots) and streams memory during the scan.
 * Whatever the target says is distrusted: damage becomes a note, never a crash; what could not be read is said.
 * Single-threaded; no globals.
 */
#ifndef HEAPTALLY_IMAGE_H
#define HEAPTALLY_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/format/tables.h"
#include "tracer/format/trace.h"
#include "tracer/format/wire.h"

/* --- where memory comes from ---------------------------------------------------------------------------------- */
struct memory_source {
    const char *name; /* "process_vm_readv", "socket" */
    /* Copy up to len bytes; returns how many from the front could be read (0: none). */
    size_t (*read)(void *ctx, uint64_t addr, void *buf, size_t len);
    /* The text of /proc/<tid>/maps, malloc'ed, NUL-terminated; NULL when it cannot be had. */
    char *(*maps)(void *ctx);
    void (*close)(void *ctx);
    void *ctx;

    /* The two below may be NULL, and may fail: then less is known, never something else.
     * A text of /proc/<tid>/<name> ("timers", "fdinfo/5"), malloc'ed; of a directory, its names, one a line. */
    char *(*proc)(void *ctx, const char *name);
    /* For each page from addr (a page's start): 0 absent, or SOURCE_* bits. Returns how many pages were told. */
    size_t (*resident)(void *ctx, uint64_t addr, size_t pages, uint8_t *ret);
};
#define SOURCE_PRESENT 1u /* in memory or swapped out: somebody touched it */
#define SOURCE_FILE    2u /* a page of the page cache: a private mapping's, as the file has it */

/* tid: any living thread of the process, in our pid namespace. */
bool source_open_process(int pid, int tid, struct memory_source *ret);
/* fd: the connection to a target that sent CHECK and serves READ and MAPS; not closed by close(). */
bool source_open_socket(int fd, struct memory_source *ret);
/* The first that can read `probe_addr`: process_vm_readv, else the socket. */
bool source_open_best(int pid, int tid, int fd, uint64_t probe_addr, struct memory_source *ret);

/* A trace file instead of a process: for image_open_tables(). */
enum trace_status {
    TRACE_READABLE,
    TRACE_UNREADABLE,    /* errno says why */
    TRACE_FOREIGN,       /* no trace file */
    TRACE_OTHER_VERSION, /* of another version of heaptally */
    TRACE_DAMAGED,
    TRACE_CUT_SHORT, /* packed, and that is damaged or not whole */
};
enum trace_status source_open_trace(const char *path, struct trace_header *ret_header,
                                    struct memory_source *ret);

/* --- the image ------------------------------------------------------------------------------------------------ */
struct image_block {               /* ascending by addr */
    uint64_t addr, size, capacity; /* size asked for; == capacity when not recorded */
    uint32_t site;                 /* 0: none */
    uint8_t kind : 7;              /* enum alloc_kind */
    bool ignored : 1; /* the program said so: what it points to is reachable, and it is no leak */
    uint8_t generation;
    uint16_t when; /* the ledger's (tables.h); see image_block_age() */
};
_Static_assert(sizeof(struct image_block) == 32, "there may be a hundred million");

struct image_thread {
    struct thread_slot slot;
    uint64_t stack_low, stack_high; /* the part that is live: [sp, end of its stack) */
};

struct image; /* opaque */

enum image_status { IMAGE_OK, IMAGE_UNREADABLE, IMAGE_OTHER_LAYOUT, IMAGE_NO_MEMORY };

/* `note` (may be NULL) gets lines for the person. The source must outlive the image. */
enum image_status image_open(const struct memory_source *source, const struct wire_target *target,
                             void (*note)(void *ctx, const char *line), void *ctx, struct image **ret);
/* Only what the recorder has written: sites, modules, usage. target->record_root says where. */
enum image_status image_open_tables(const struct memory_source *source, const struct wire_target *target,
                                    void (*note)(void *ctx, const char *line), void *ctx, struct image **ret);
void image_close(struct image *image);

uint32_t image_block_count(const struct image *image);
const struct image_block *image_blocks(const struct image *image);
/* How long before the process stood still it was allocated, in ms, or less. false: it is not known. */
bool image_block_age(const struct image *image, uint32_t block, uint64_t *ret_ms);
uint32_t image_thread_count(const struct image *image);
const struct image_thread *image_threads(const struct image *image);
const struct record_root *image_record(const struct image *image); /* NULL: not recorded */
bool image_site_node(const struct image *image, uint32_t id, struct site_node *ret);
uint32_t image_site_count(const struct image *image); /* ids are below */
/* What was allocated and freed, by site: all threads' tallies, one entry a site, in no order. */
uint32_t image_usage_count(const struct image *image);
const struct site_tally *image_usages(const struct image *image);
uint32_t image_module_count(const struct image *image);
const struct module_entry *image_module(const struct image *image, uint32_t index, const char **ret_path);

/* A loaded ELF file, as its program headers in memory say; unlike image_module, also those no stack ran through. */
struct image_elf {
    const char *path;
    uint64_t start, end, bias;
};
/* The one whose mapped range holds addr; NULL: none. */
const struct image_elf *image_elf_at(const struct image *image, uint64_t addr);

/* --- the scan ------------------------------------------------------------------------------------------------- */
enum image_ref { IMAGE_START, IMAGE_ACCEPTED, IMAGE_INTERIOR, IMAGE_END }; /* same order as enum graph_ref */

struct image_root {
    enum {
        ROOT_GLOBAL,
        ROOT_STACK,
        ROOT_REGISTER,
        ROOT_VECTOR_REGISTER,
        ROOT_ALTERNATE_STACK,
        ROOT_TLS,
        ROOT_THREAD_DATA,
        ROOT_KERNEL,
        ROOT_WIDE,
        ROOT_ANNOTATED,
        ROOT_OWN
    } kind;
    bool strict;
    uint64_t start, end; /* memory roots */
    uint32_t thread;     /* index, for stacks of both kinds, registers of both kinds, TLS */
    uint32_t reg;        /* DWARF number, for registers */
    const char *where;   /* module path, mapping name ("[heap]", "/dev/shm/x", "anonymous"), fd description */
};
uint32_t image_root_count(const struct image *image);
const struct image_root *image_root_at(const struct image *image, uint32_t root);

struct scan_visitor {
    /* A reference in root `root`, in the word at `addr` (0 for registers), to `block` + to_offset. */
    bool (*root_ref)(void *ctx, uint32_t root, uint64_t addr, uint32_t block, uint64_t to_offset,
                     enum image_ref kind);
    /* A reference in block `from`, in the word at byte `offset`; `from` never decreases; after all root_refs. */
    bool (*block_ref)(void *ctx, uint32_t from, uint64_t offset, uint32_t block, uint64_t to_offset,
                      enum image_ref kind);
    void (*progress)(void *ctx, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *ctx;
};
/* false: a callback said stop, memory was out, or the target went away (a note says so). */
bool image_scan(struct image *image, const struct scan_visitor *visitor);

#endif
