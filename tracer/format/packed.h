/* SPDX-License-Identifier: MIT */
/*
 * packed.h - files packed by zstd, as the command of that name makes them: read as the file that was packed, and written.
 *
 * What is read is distrusted: a bomb gets no further than the limit, and what is cut short is not taken for whole.
 */
#ifndef HEAPTALLY_PACKED_H
#define HEAPTALLY_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* By its first bytes, wherever the file's position is. */
bool packed_is(int fd);

/* What is packed in `fd`, from its start, as a file in memory, the caller's to close; pages of zeros are holes in it. -1: errno
 * is EBADMSG if it is cut short, damaged, or has more than `most` bytes; else what the system said. */
int packed_open(int fd, uint64_t most);

struct packer; /* opaque */

/* Onto the end of `fd`, which stays the caller's. NULL: memory is out. */
struct packer *packer_new(int fd);
/* false, and errno: it could not be written. */
bool packer_add(struct packer *packer, const void *bytes, size_t size);
/* What was added is whole. The packer is gone, in any case. */
bool packer_end(struct packer *packer);

#endif
