/* SPDX-License-Identifier: MIT */
/*
 * finding.h - one group of a recording as text; private to tracer/report.
 *
 *    2. CYCLE of 3 blocks, 96 bytes
 *       count 3, all from inside the cycle
 *         block #2 +8 -> block #3
 *         ...
 *       block #2 (32 bytes), block #3 (32 bytes): by malloc in
 *         stack
 *
 * Blocks are called by their number in the recording (from 1), the same in every format and from run to run.
 */
#ifndef HEAPTALLY_FINDING_H
#define HEAPTALLY_FINDING_H

#include <stdint.h>
#include <stdio.h>

#include "tracer/report/report.h"

void finding_print(const struct recording *rec, const struct report_options *options, uint32_t group,
                   uint32_t number, FILE *out);

#endif
