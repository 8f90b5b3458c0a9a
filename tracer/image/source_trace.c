/* SPDX-License-Identifier: MIT */
/* Memory out of a trace file (tracer/format/trace.h): what the recorder's tables are in, and nothing else. */
#include "tracer/image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tracer/format/packed.h"

struct trace_file {
    int fd;
    uint64_t base, size; /* address of the first byte; bytes there are */
};

static size_t trace_read(void *ctx, uint64_t addr, void *buf, size_t len)
{
    const struct trace_file *file = ctx;
    uint64_t offset = addr - file->base;
    size_t done = 0;
    if (offset >= file->size)
        return 0;
    if (len > file->size - offset)
        len = (size_t)(file->size - offset);
    while (done < len) {
        ssize_t got = pread(file->fd, (char *)buf + done, len - done, (off_t)(offset + done));
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    return done;
}

static char *trace_nothing(void *ctx)
{
    (void)ctx;
    return NULL;
}

static void trace_close(void *ctx)
{
    struct trace_file *file = ctx;
    close(file->fd);
    free(file);
}

static bool header_is_possible(struct trace_header *header, uint64_t file_size)
{
    header->program[TRACE_PROGRAM_MAX - 1] = '\0';
    if (header->size > file_size)
        header->size = file_size; /* a copy may end where what was used ends */
    return header->base != 0 && header->base + header->size > header->base &&
           header->root - header->base < header->size;
}

/* The file; one that is packed is unpacked in memory first. -1: *ret says why, and errno. */
static int open_plain(const char *path, enum trace_status *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *ret = TRACE_UNREADABLE;
    if (fd < 0 || !packed_is(fd))
        return fd;
    int plain = packed_open(fd, TRACE_SIZE_MOST), error = errno;
    close(fd);
    errno = error;
    if (plain < 0 && error == EBADMSG)
        *ret = TRACE_CUT_SHORT;
    return plain;
}

enum trace_status source_open_trace(const char *path, struct trace_header *ret_header,
                                    struct memory_source *ret)
{
    struct stat there;
    struct trace_file *file = malloc(sizeof(*file));
    enum trace_status status;
    if (!file)
        return TRACE_UNREADABLE;
    file->fd = open_plain(path, &status);
    if (file->fd < 0) {
        free(file);
        return status;
    }
    ssize_t got = pread(file->fd, ret_header, sizeof(*ret_header), 0);
    if (got < (ssize_t)sizeof(*ret_header) || ret_header->magic != TRACE_MAGIC)
        status = got < 0 ? TRACE_UNREADABLE : TRACE_FOREIGN;
    else if (ret_header->version != TRACE_VERSION)
        status = TRACE_OTHER_VERSION;
    else if (fstat(file->fd, &there) != 0 || !header_is_possible(ret_header, (uint64_t)there.st_size))
        status = TRACE_DAMAGED;
    else
        status = TRACE_READABLE;
    file->base = ret_header->base;
    file->size = ret_header->size;
    if (status != TRACE_READABLE) {
        trace_close(file);
        return status;
    }
    *ret = (struct memory_source){
        .name = "trace", .read = trace_read, .maps = trace_nothing, .close = trace_close, .ctx = file};
    return TRACE_READABLE;
}
