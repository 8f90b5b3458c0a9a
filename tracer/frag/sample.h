/* SPDX-License-Identifier: MIT */
/*
 * sample.h - what a process occupies, over time.
 *
 *    /proc/PID/smaps_rollup --> struct frag_sample --> struct frag_curve (thinned to a bound, whatever the run's length)
 *
 * Reading smaps_rollup walks the page tables of the process and holds its mapping lock for reading meanwhile, about
 * 10 ms for a GiB: so whoever samples spaces the readings by what they cost, and reads statm in between.
 */
#ifndef HEAPTALLY_FRAG_SAMPLE_H
#define HEAPTALLY_FRAG_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes, but for the time. */
struct frag_sample {
    double s; /* seconds since the program began */
    uint64_t rss, anonymous, lazy_free;
    uint64_t live; /* accounting run only */
};

#define CURVE_MAX 4000u

struct frag_curve {
    struct frag_sample *at;
    size_t count, capacity;
    double apart_s; /* samples closer than this are dropped; doubles whenever the curve is full */
};
/* false: memory is out. The caller keeps maxima and the end itself: a thinned curve may lack them. */
bool frag_curve_add(struct frag_curve *curve, const struct frag_sample *sample);
void frag_curve_free(struct frag_curve *curve);
/* Mean over time of `field` (offset of a uint64_t in struct frag_sample), by trapezoids. */
double frag_curve_mean(const struct frag_curve *curve, size_t field);

/* Fields of `text` as in smaps_rollup: false when one is missing. */
bool frag_rollup_parse(const char *text, struct frag_sample *ret);
/* rss, anonymous, lazy_free of a process; false: it is gone, or may not be looked at. */
bool frag_rollup_read(int pid, struct frag_sample *ret);
/* A number that exec changes, to within the randomness of addresses: where the stack of the image begins. 0: not known. */
uint64_t frag_image(int pid);
/* RSS and its anonymous part by /proc/PID/statm: cheap, and off by what processors have not handed in. */
bool frag_statm_read(int pid, uint64_t *ret_rss, uint64_t *ret_anonymous);
/* VmHWM of /proc/PID/status in bytes; 0 when it is gone. */
uint64_t frag_high_water(int pid);

#endif
