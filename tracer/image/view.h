/* SPDX-License-Identifier: MIT */
/*
 * view.h - struct image, as the files of this folder share it, and the steps that fill it.
 *
 *   image_open:  record_load     record root, modules, sites, annotations       what the recorder said
 *                blocks_load     blocks, own regions, finder                    what the allocator says
 *                maps_parse
 *                elves_load      loaded ELF files, their writable segments      what the kernel and the loader say
 *                threads_load    slots, stack bounds, TLS tables
 *                roots_load      all of it cut into roots, no byte in two of them
 *   image_scan:  scan.c
 *
 * Each step distrusts what it reads and leaves a note about what it could not use. They fail only when memory is
 * out, or when the allocator itself cannot be read.
 */
#ifndef HEAPTALLY_VIEW_H
#define HEAPTALLY_VIEW_H

#include "tracer/image/finder.h"
#include "tracer/image/image.h"
#include "tracer/image/interior.h"
#include "tracer/image/maps.h"
#include "tracer/image/memory.h"
#include "tracer/image/ranges.h"

/* struct pthread of glibc, at fs_base. Only what has stood still for many years is used: the two pointers to itself,
 * the table of TLS blocks, the thread's id; the stack's bounds are recognised by what they are. */
#define PTHREAD_SIZE      UINT64_C(2304)
#define PTHREAD_SELF      0u
#define PTHREAD_TLS_TABLE 8u
#define PTHREAD_SELF_TOO  16u
#define PTHREAD_TID       720u

struct thread_place {
    uint64_t own_low, own_high; /* the thread's own stack, with struct pthread at its top; 0: not known */
    uint64_t tls_low, tls_high; /* static TLS and struct pthread; 0: not known */
    bool main;                  /* its stack is the process's first */
};

struct elf {
    struct image_elf shown;
    uint64_t dynamic; /* address of its dynamic section; 0: none */
};

/* A writable part of a loaded file. */
struct segment {
    uint64_t start, end;
    uint32_t elf;
};

/* What the scan has to know of a root beside struct image_root. */
struct root_extra {
    bool touched_only;    /* see memory_stream */
    bool unrecorded_only; /* our own memory: counts only for what we (libunwind, the loader) took */
};

/* A value that stands in no memory of the target: a register, or what the kernel holds. */
struct root_value {
    uint64_t value;
    uint32_t root;
    bool holds; /* however far into the block it points */
};

struct image {
    const struct memory_source *source;
    struct wire_target target;
    struct memory memory;
    void (*note)(void *ctx, const char *line);
    void *note_ctx;

    /* How many of each there are; roots and their extras have room for root_capacity. */
    uint32_t block_count, node_count, module_count, annotation_count;
    uint32_t elf_count, segment_count, thread_count, root_count, root_capacity;
    bool recorded; /* `record` and what hangs on it mean something */

    struct image_block *blocks;
    struct ranges own;    /* the allocator's regions and the library's image. Normal */
    struct ranges tables; /* of those: what is no block. Normal */
    struct finder finder;

    struct record_root record;
    struct site_node *nodes; /* ids 0..node_count-1 */
    struct site_tally *usages;
    uint32_t usage_count, usage_capacity;
    uint32_t *usage_places; /* a table from sites to usages, while they are added up */
    struct module_entry *modules;
    char **module_paths;
    struct annotation *annotations;

    struct maps maps;
    struct elf *elves;
    struct ranges constant; /* read-only parts of loaded files. Normal */
    struct segment *segments;

    struct image_thread *threads;
    struct thread_place *places;
    uint64_t *tls_words; /* ascending once roots are loaded; see interior.h */
    size_t tls_word_count, tls_word_capacity;

    struct image_root *roots;
    struct root_extra *extras;
    struct ranges claimed; /* memory that is a root already, or can be none. Normal */
    struct root_value *values;
    size_t value_count, value_capacity;
    char **names; /* owned; roots' `where` may point here */
    size_t name_count, name_capacity;
};

void image_note(struct image *image, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum image_status blocks_load(struct image *image);
bool record_load(struct image *image);
void tallies_load(struct image *image); /* and adds them to what `record` counts */
bool elves_load(struct image *image);
bool threads_load(struct image *image);
/* One more word that holds a thread's table of TLS blocks; to be sorted before the scan. */
bool threads_add_tls_word(struct image *image, uint64_t addr);
void threads_sort_tls_words(struct image *image);
bool roots_load(struct image *image);

/* The connected part of addr's mapping that is not ours and not claimed. false: there is none. */
bool image_piece_at(const struct image *image, uint64_t addr, struct range *ret);

/* --- roots.c, for those that find them ------------------------------------------------------------------------ */
/* All of [start, end) that is not claimed yet becomes a root like `root` (its start and end are filled in). */
bool roots_add(struct image *image, const struct image_root *root, uint64_t start, uint64_t end);
bool roots_add_value(struct image *image, const struct image_root *root, uint64_t value, bool holds);
/* A name to point at; NULL: memory is out. */
const char *roots_name(struct image *image, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool roots_add_threads(struct image *image); /* roots_threads.c */
bool roots_add_ended(struct image *image);   /* stacks kept for threads to come; after threads and modules */
bool roots_add_loader(struct image *image);  /* roots_modules.c */
bool roots_add_modules(struct image *image);
bool roots_add_kernel(struct image *image); /* roots_kernel.c */

#endif
