/* SPDX-License-Identifier: MIT */
/*
 * recording.h - the result of one check, as a .htz file holds it and as reports and gates read it.
 *
 *   struct recording
 *      meta      what ran, how it ended, whether it was checked, and if not, why
 *      modules   mapped files with build ids
 *      frames -> lines   one frame is one return address; lines are its source positions, innermost inline first
 *      sites -> frame_list   one stack, innermost frame first
 *      groups    the findings: blocks of one class that share their site (or, cycles, the sites of their members)
 *      blocks    the blocks shown for a group (all of them up to a limit, `group.blocks` is the true number)
 *      edges     references shown: the edges of cycles, the holders of possible blocks
 *      roots     the names of the roots that edges come from
 *      notes     lines for the person: threads not parked, memory not readable, ...
 *
 *      group --first_block,block_count--> blocks --site--> sites --first_frame,frame_count--> frame_list
 *        '--first_edge,edge_count--> edges --from_block,to_block--> blocks         frame_list --> frames --> lines
 *                                      '---from_root--> roots                                       '--> modules
 *
 * Plain old data: arrays and indices, strings owned by the recording. All is resolved to names when the file is
 * written, so that a report needs neither the program nor its debug files. FORMAT.md specifies the bytes.
 * Equal strings (the same file name on a thousand lines) are kept once, so nobody but the recording frees one; only
 * the meta strings are each their own, because they are replaced while a run goes on.
 *
 * Invariant: recording_check() holds. recording_read() distrusts every number and returns only recordings for which it
 * does; recording_write() refuses others. Any index in a recording that was read is therefore in range.
 * Threads: none of this is safe to share; one recording belongs to one thread at a time.
 */
#ifndef HEAPTALLY_RECORDING_H
#define HEAPTALLY_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REC_NONE 0xffffffffu
/* No string is longer: what is added beyond is cut, what is read beyond is refused. */
#define REC_STRING_MAX (1u << 20)

enum rec_class { REC_REACHABLE, REC_POSSIBLE, REC_LOST, REC_CYCLE, REC_INDIRECT, REC_CLASSES };

enum rec_verdict {
    REC_NOT_CHECKED, /* meta.why_not says why; never an all-clear */
    REC_CLEAN,       /* checked; no lost and no cycle blocks */
    REC_LEAKS,       /* checked; lost or cycle blocks */
};

struct rec_meta {
    char *program;       /* path as run */
    char *command;       /* the whole command line */
    char *why_not;       /* when not checked, one clause; otherwise "" */
    char *reason;        /* "exit", "_exit", "quick_exit", "exec", "signal", "snapshot", "gone" */
    char *memory_source; /* "process_vm_readv", "socket" */
    char *unwinder;
    char *tool_version;
    int32_t pid, parent;
    int32_t status;      /* exit code, or signal number when reason is "signal"/"gone" */
    uint32_t verdict;    /* enum rec_verdict */
    uint32_t generation; /* 0: the program itself; n: after n forks */
    uint32_t threads, unparked_threads;
    uint64_t started, checked;    /* unix time in ms */
    uint64_t freeze_us, check_us; /* how long the program stood still; how long the whole check took */
    uint64_t allocations, frees, unrecorded;
    uint64_t class_blocks[REC_CLASSES], class_bytes[REC_CLASSES]; /* own blocks, sizes asked for */
    uint64_t inherited_blocks,
        inherited_bytes; /* unreachable, but allocated before the fork: not counted above */
    uint64_t references; /* edges scanned, roots and blocks */
};

struct rec_module {
    char *path;
    uint64_t start, end, bias;
    uint32_t generation;
    uint32_t unloaded;
    uint8_t build_id[32];
    uint32_t build_id_length;
};

struct rec_line {
    char *function; /* demangled; "" when not known */
    char *file;     /* "" when not known */
    uint32_t line, column;
    uint32_t inlined; /* 1: inlined into the next line of the same frame */
};

struct rec_frame {
    uint64_t ip;
    uint32_t module;                 /* or REC_NONE */
    uint32_t first_line, line_count; /* at least one line when resolved; 0 when nothing is known but the ip */
};

struct rec_site {
    uint32_t first_frame, frame_count; /* into frame_list */
    uint32_t end;                      /* enum site_end of tables.h */
};

struct rec_group {
    uint32_t cls;       /* enum rec_class; groups exist for possible, lost, cycle (and indirect, charged
                                      below to their heads, are not groups of their own) */
    uint32_t site;      /* of the lost heads; for a cycle, of its lowest-numbered member site; or REC_NONE */
    uint32_t kind;      /* enum alloc_kind of tables.h */
    uint32_t instances; /* lost heads, possible blocks, or cycles of this shape */
    uint64_t blocks, bytes;                   /* of the class itself, sizes asked for */
    uint64_t indirect_blocks, indirect_bytes; /* held only by them */
    uint64_t capacity;                        /* usable bytes of both */
    uint64_t references;                      /* counted into its blocks, over all instances: 0 for lost */
    uint64_t from_self, from_inside;          /* of those: from the block itself, from others of the group */
    uint32_t first_block, block_count;        /* shown */
    uint32_t first_edge, edge_count; /* shown: one instance of a cycle; holders of a possible block */
    /* How many of its blocks have an age that is known: how long before the process stood still they were allocated, at
     * most. And the oldest of those, and the newest. */
    uint64_t aged_blocks, oldest_ms, newest_ms;
    uint32_t suppressed_by; /* filled by the gate, REC_NONE otherwise; not stored */
};

struct rec_block {
    uint64_t addr, size, capacity;
    uint32_t site, kind;
    uint32_t refs_start, refs_interior; /* references into it from elsewhere than itself */
    uint32_t refs_self;
    uint32_t instance; /* which of the group's instances it belongs to */
    uint32_t has_age;  /* 0 or 1: age_ms means something */
    uint64_t age_ms;   /* likewise */
};

struct rec_edge {
    uint32_t from_block, from_root; /* one of them is REC_NONE */
    uint32_t to_block;
    uint32_t reserved;
    uint64_t offset;    /* of the word in the holder; in a root, its address */
    uint64_t to_offset; /* 0: points at the start */
};

struct rec_root {
    char *name; /* "global g_cache in libfoo.so", "stack of thread 3", "register rbx of thread 2", ... */
    uint32_t strict;
};

/* What a stack allocated, over a process's whole life. Out of a trace file; not stored in a .htz. */
struct rec_usage {
    uint32_t site;   /* or REC_NONE: its stack was not asked for */
    uint32_t number; /* the stack's in the process: the same in every reading */
    uint32_t end;    /* enum site_end: how the stack ends */
    uint64_t allocations, frees;
    uint64_t bytes, freed_bytes; /* asked for */
    uint64_t temporary;          /* freed by the thread that allocated them before it allocated again */
    uint64_t margin; /* sampled: half the width of the 95 % confidence interval of bytes - freed_bytes */
    uint64_t peak;   /* most of bytes - freed_bytes: exact if one thread did it all, else at most so much */
};

#define REC_ARRAY(type, name)                                                                                \
    struct type *name;                                                                                       \
    uint32_t name##_count, name##_capacity

struct rec_strings; /* opaque: every string but meta's */

struct recording {
    struct rec_meta meta;
    REC_ARRAY(rec_module, modules);
    REC_ARRAY(rec_line, lines);
    REC_ARRAY(rec_frame, frames);
    uint32_t *frame_list;
    uint32_t frame_list_count, frame_list_capacity;
    REC_ARRAY(rec_site, sites);
    REC_ARRAY(rec_group, groups);
    REC_ARRAY(rec_block, blocks);
    REC_ARRAY(rec_edge, edges);
    REC_ARRAY(rec_root, roots);
    REC_ARRAY(rec_usage, usages); /* not stored */
    uint64_t
        usage_sample; /* one block in so many bytes was recorded, and usages are estimates; 0: all were */
    uint32_t check_stacks; /* with check_stacks=N: N, and how many stacks were compared, and differed */
    uint64_t stack_checks, stack_mismatches;
    char **notes;
    uint32_t notes_count, notes_capacity;
    struct rec_strings *strings;
};

/* --- building: each appends and returns the new index, or REC_NONE when memory is out ------------------------ */
struct recording *recording_new(void); /* meta strings are "" ; NULL when memory is out */
void recording_free(struct recording *rec);
char *recording_strdup(const char *text); /* what meta strings must be made of; free()d by recording_free */
bool recording_set(char **field, const char *text); /* replace a meta string */
uint32_t recording_add_module(struct recording *rec,
                              const struct rec_module *m); /* copies strings, as all below */
uint32_t recording_add_line(struct recording *rec, const struct rec_line *l);
uint32_t recording_add_frame(struct recording *rec, const struct rec_frame *f);
uint32_t recording_add_site(struct recording *rec, const uint32_t *frames, uint32_t count, uint32_t end);
uint32_t recording_add_group(struct recording *rec, const struct rec_group *g);
uint32_t recording_add_block(struct recording *rec, const struct rec_block *b);
uint32_t recording_add_edge(struct recording *rec, const struct rec_edge *e);
uint32_t recording_add_root(struct recording *rec, const struct rec_root *r);
uint32_t recording_add_usage(struct recording *rec, const struct rec_usage *usage);
bool recording_add_note(struct recording *rec, const char *line);

/* Every index in range, every range inside its array and all ranges of a kind together no longer than it, every enum known. *ret_where (may be NULL) names what is not. */
bool recording_check(const struct recording *rec, const char **ret_where);

/* --- bytes ------------------------------------------------------------------------------------------------- */
enum format_status {
    FORMAT_OK,
    FORMAT_IO,        /* errno says */
    FORMAT_FOREIGN,   /* not a heaptally recording at all */
    FORMAT_TOO_NEW,   /* a recording of a later version */
    FORMAT_TRUNCATED, /* a recording whose end is missing */
    FORMAT_CORRUPT,   /* ret_where names the section */
    FORMAT_NO_MEMORY,
};

/* Write beside `path` and rename over it: a reader sees the whole file or none. A path that exists and is no regular
 * file (a pipe, /dev/null) is written to as it is. FORMAT_CORRUPT: recording_check() does not hold, nothing was written.
 * FORMAT_IO with errno EFBIG: larger than FORMAT.md allows. */
enum format_status recording_write(const struct recording *rec, const char *path);

/* *ret_where (may be NULL) becomes a static text naming the part at fault. */
enum format_status recording_read(const char *path, struct recording **ret, const char **ret_where);
/* The same from memory, for tests and fuzzers. */
enum format_status recording_decode(const void *bytes, size_t length, struct recording **ret,
                                    const char **ret_where);

/* The bytes recording_write would store; *ret_bytes is the caller's to free(). */
enum format_status recording_encode(const struct recording *rec, unsigned char **ret_bytes,
                                    size_t *ret_length);

const char *format_status_text(enum format_status status);
const char *rec_class_name(uint32_t cls);       /* "reachable", ... */
const char *rec_verdict_name(uint32_t verdict); /* "not checked", "clean", "leaks" */

#endif
