/* SPDX-License-Identifier: MIT */
/* file.h - what writing files of ours has in common. Internal to this folder. */
#ifndef HEAPTALLY_FILE_H
#define HEAPTALLY_FILE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

/* All of it, however many signals come meanwhile. false: errno says why not. */
static inline bool file_write_all(int fd, const void *bytes, size_t size)
{
    const char *from = bytes;

    while (size > 0) {
        ssize_t n = write(fd, from, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        from += n;
        size -= (size_t)n;
    }
    return true;
}

#endif
