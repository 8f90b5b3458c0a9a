/* SPDX-License-Identifier: MIT */
/*
 * recording_unpack.h - zstd bytes back to the payload, against a file that lies about its size.
 *
 * The header's payload size was checked against HTZ_PAYLOAD_MAX; here memory grows with what really comes
 * out, so that a short file cannot claim half a gigabyte, and stops at the claimed size, so that a bomb gets
 * no further.
 */
#ifndef HEAPTALLY_RECORDING_UNPACK_H
#define HEAPTALLY_RECORDING_UNPACK_H

#include <stdint.h>

#include "tracer/format/recording.h"

struct htz_header {
    uint64_t payload_size, stored_size;
};

/* FORMAT_CORRUPT unless exactly stored_size bytes give exactly payload_size. *ret is the caller's to free().
 */
enum format_status unpack(const unsigned char *stored, const struct htz_header *header, unsigned char **ret);

#endif
