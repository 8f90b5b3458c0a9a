/* SPDX-License-Identifier: MIT */
/*
 * study.h - one program under several allocators: what was measured, and what is made of it.
 *
 *    timed runs, A B C A B C ...        sample.h: /proc/PID/smaps_rollup over time --> curves -.
 *    one accounting run, heaptally's    live bytes over time (tracer/format/account.h)          |--> summary.c
 *                                       heap.h: its heap, walked at the peak and at the end ---'      |
 *                                                                       table.c, json.c, picture.c <--'
 *
 * What is divided by what. "Live" is what the program asked for and has not freed, counted exactly in the accounting
 * run; no allocator can tell it from outside. A process's RSS is more than its heap, by file pages (code, libraries) and
 * by anonymous pages that are no heap (data segments, stacks, the program's own mappings). So there are two ratios:
 *
 *    RSS / live      as it stands: what the machine pays
 *    heap / live     heap = RSS - file pages - LazyFree - base
 *                    base = anonymous pages outside the heap: in the accounting run, Anonymous of smaps_rollup less the
 *                           resident pages of heaptally's chunks, mappings and metadata, counted in /proc/PID/pagemap.
 *                           It is the program's, so it is the same under every allocator but for their own data segments
 *
 * Peaks are compared with peaks: the most RSS ever (the kernel's high-water mark) with the most live bytes ever.
 * LazyFree pages are counted by the kernel as resident although they were given back; they are told apart.
 */
#ifndef HEAPTALLY_FRAG_STUDY_H
#define HEAPTALLY_FRAG_STUDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracer/frag/heap.h"
#include "tracer/frag/sample.h"

#define STUDY_ALLOCATORS_MAX 8u
#define STUDY_ROUNDS_MAX     99u

/* One run of the program. */
struct frag_run {
    bool ran;          /* it was started */
    bool by_signal;    /* killed by signal `status` */
    int status;        /* its exit code otherwise */
    const char *wrong; /* what else went wrong, one clause; NULL: nothing */
    int during_status; /* exit code of the --during command */
    bool children;     /* it had children when looked at: they are not measured */
    double wall_s, user_s, system_s;
    uint64_t peak_rss; /* the kernel's high-water mark, bytes */
    bool has_end;      /* `end` is a sample: the last one, or the one after the --during command */
    struct frag_sample end;
    struct frag_curve curve;
};

/* A figure over the rounds. */
struct frag_figure {
    double median, low, high;
};

struct frag_allocator {
    char name[32];
    char library[4096]; /* "" none */
    const char *note;   /* why it is not here, or what is preloaded and why; NULL */
    bool present;
    unsigned rounds;
    struct frag_run run[STUDY_ROUNDS_MAX];

    /* summary.c; figures of memory in bytes */
    struct frag_figure wall, cpu, peak_rss, end_rss, lazy_free, peak_heap, end_heap, mean_heap;
};

/* The accounting run. */
struct frag_account {
    struct frag_run run;
    bool counted; /* the library has mapped the page */
    uint64_t peak_bytes, peak_blocks, allocations, frees, asked_bytes;
    uint64_t end_bytes, end_blocks;
    double mean_bytes; /* over its time */
    bool has_peak, has_end;
    struct frag_heap peak, end; /* `peak`: when most of it was resident, to within a tenth, and most live */
};

struct frag_study {
    char *command;
    const char *during; /* NULL: none */
    unsigned rounds, interval_ms, settle_ms;
    unsigned count;
    struct frag_allocator allocator[STUDY_ALLOCATORS_MAX];
    struct frag_account account;
    uint64_t base; /* summary.c: anonymous pages that are no heap */
};

/* --- summary.c ------------------------------------------------------------------------------------------- */

void study_summarize(struct frag_study *study);
/* value / live; 0 when live is too little for the ratio to mean anything. */
double study_ratio(double value, double live);
void study_free(struct frag_study *study);

/* --- table.c, json.c, picture.c ---------------------------------------------------------------------------- */

/* The text, malloc'ed; NULL when memory is out. `all`: every size class. */
char *study_table(const struct frag_study *study, bool all);
/* JSON, malloc'ed (SCHEMA.md); NULL when memory is out. */
char *study_json(const struct frag_study *study);

/* What gnuplot is to be fed with to draw the picture to `path`; malloc'ed, NULL when memory is out. `terminal` is
 * gnuplot's: "svg" or "pngcairo". */
char *study_picture(const struct frag_study *study, const char *path, const char *terminal);

#endif
