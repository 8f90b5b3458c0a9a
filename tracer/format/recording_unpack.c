/* SPDX-License-Identifier: MIT */
#include "tracer/format/recording_unpack.h"

#include <stdlib.h>
#include <zstd.h>

#include "tracer/format/recording_layout.h"

#define FIRST_STEP (256u << 10)

/* Doubles towards the claimed size. One byte more than that, so that a bomb shows itself by filling it. */
static bool grow(ZSTD_outBuffer *out, uint64_t claimed)
{
    uint64_t size = out->size == 0 ? FIRST_STEP : out->size * (uint64_t)2;
    if (size > claimed + 1)
        size = claimed + 1;
    void *bytes = realloc(out->dst, size);
    if (bytes == NULL)
        return false;
    out->dst = bytes;
    out->size = size;
    return true;
}

static enum format_status stream(ZSTD_DStream *zstd, ZSTD_inBuffer *in, ZSTD_outBuffer *out, uint64_t claimed)
{
    size_t left = 1;
    while (left != 0) {
        if (out->pos == out->size) {
            if (out->pos > claimed)
                return FORMAT_CORRUPT;
            if (!grow(out, claimed))
                return FORMAT_NO_MEMORY;
        }
        size_t in_before = in->pos;
        size_t out_before = out->pos;
        left = ZSTD_decompressStream(zstd, out, in);
        if (ZSTD_isError(left))
            return FORMAT_CORRUPT;
        if (left != 0 && in->pos == in_before && out->pos == out_before)
            return FORMAT_CORRUPT; /* no progress: the frame is incomplete */
    }
    return in->pos == in->size && out->pos == claimed ? FORMAT_OK : FORMAT_CORRUPT;
}

enum format_status unpack(const unsigned char *stored, const struct htz_header *header, unsigned char **ret)
{
    ZSTD_DStream *zstd = ZSTD_createDStream();
    if (zstd == NULL)
        return FORMAT_NO_MEMORY;
    enum format_status status = FORMAT_NO_MEMORY;
    ZSTD_inBuffer in = {stored, header->stored_size, 0};
    ZSTD_outBuffer out = {NULL, 0, 0};
    if (!ZSTD_isError(ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, HTZ_WINDOW_LOG)))
        status = stream(zstd, &in, &out, header->payload_size);
    ZSTD_freeDStream(zstd);
    if (status != FORMAT_OK) {
        free(out.dst);
        return status;
    }
    *ret = out.dst;
    return FORMAT_OK;
}
