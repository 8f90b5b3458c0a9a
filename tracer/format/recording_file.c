/* SPDX-License-Identifier: MIT */
/* Recordings in files: all of one is there under its name, or nothing is. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tracer/format/file.h"
#include "tracer/format/recording_layout.h"

#define TEMPORARY_TRIES 100
#define FIRST_READ      (64u << 10)

/* Closes in any case; errno is that of the first failure. */
static bool write_and_close(int fd, const unsigned char *bytes, size_t length)
{
    bool done = file_write_all(fd, bytes, length);
    int error = errno;
    if (close(fd) != 0 && done)
        return false;
    errno = error;
    return done;
}

/* A new file beside the target, with the mode an ordinary creat() would give. */
static int open_temporary(const char *path, char *name, size_t size)
{
    for (unsigned i = 0; i < TEMPORARY_TRIES; i++) {
        int n = snprintf(name, size, "%s.%ld-%u.tmp", path, (long)getpid(), i);
        if (n < 0 || (size_t)n >= size) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static bool replace_file(const char *path, const unsigned char *bytes, size_t length)
{
    size_t size = strlen(path) + 64;
    char *name = malloc(size);
    if (name == NULL)
        return false;
    int fd = open_temporary(path, name, size);
    bool done = fd >= 0 && write_and_close(fd, bytes, length);
    if (done && rename(name, path) != 0)
        done = false;
    if (!done && fd >= 0) {
        int error = errno;
        unlink(name);
        errno = error;
    }
    free(name);
    return done;
}

static bool write_in_place(const char *path, const unsigned char *bytes, size_t length)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write_and_close(fd, bytes, length);
}

/* Renaming over a device or a pipe would take it away from everybody else; a link is followed to what it
 * names. */
static bool put_file(const char *path, const unsigned char *bytes, size_t length)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return replace_file(path, bytes, length);
    if (!S_ISREG(st.st_mode))
        return write_in_place(path, bytes, length);
    char *real = realpath(path, NULL);
    if (real == NULL)
        return false;
    bool done = replace_file(real, bytes, length);
    free(real);
    return done;
}

enum format_status recording_write(const struct recording *rec, const char *path)
{
    unsigned char *bytes;
    size_t length;
    enum format_status status = recording_encode(rec, &bytes, &length);
    if (status != FORMAT_OK)
        return status;
    bool done = put_file(path, bytes, length);
    int error = errno;
    free(bytes);
    errno = error;
    return done ? FORMAT_OK : FORMAT_IO;
}

/* Reads to the end, or to one byte past what any recording may have: more is not looked at. */
static enum format_status read_all(int fd, unsigned char **ret_bytes, size_t *ret_length)
{
    const size_t limit = HTZ_HEADER_SIZE + HTZ_STORED_MAX + 1;
    unsigned char *bytes = NULL;
    size_t used = 0, size = 0;
    for (;;) {
        if (used == size) {
            size = size == 0 ? FIRST_READ : size * 2;
            unsigned char *more = realloc(bytes, size);
            if (more == NULL) {
                free(bytes);
                return FORMAT_NO_MEMORY;
            }
            bytes = more;
        }
        ssize_t n = read(fd, bytes + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(bytes);
            return FORMAT_IO;
        }
        used += (size_t)n;
        if (n == 0 || used >= limit)
            break;
        /* A gigabyte of something else is known by its first bytes. */
        if (used >= HTZ_MAGIC_SIZE && memcmp(bytes, HTZ_MAGIC, HTZ_MAGIC_SIZE) != 0)
            break;
    }
    *ret_bytes = bytes;
    *ret_length = used;
    return FORMAT_OK;
}

enum format_status recording_read(const char *path, struct recording **ret, const char **ret_where)
{
    if (ret_where != NULL)
        *ret_where = "file";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FORMAT_IO;
    unsigned char *bytes = NULL;
    size_t length = 0;
    enum format_status status = read_all(fd, &bytes, &length);
    int error = errno;
    close(fd);
    if (status == FORMAT_OK) {
        status = recording_decode(bytes, length, ret, ret_where);
        free(bytes);
    }
    errno = error;
    return status;
}
