/* SPDX-License-Identifier: MIT */
/*
 * check.h - one frozen process in, one recording out: image -> scan -> graph -> symbols -> recording.
 */
#ifndef HEAPTALLY_CHECK_H
#define HEAPTALLY_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "tracer/format/recording.h"
#include "tracer/format/wire.h"
#include "tracer/image/image.h"

struct check_request {
    const struct memory_source *source;
    const struct wire_target *target;
    void (*progress)(void *ctx, const char *phase, uint64_t done, uint64_t total); /* may be NULL */
    void *ctx;
};

/* Fills rec (made by recording_new, its meta's program, command and pid set by the caller). Always leaves a verdict: when anything
 * stops the check, REC_NOT_CHECKED with meta.why_not. false only when memory is out (the verdict is then still "not checked"). */
bool check_process(const struct check_request *request, struct recording *rec);

#endif
