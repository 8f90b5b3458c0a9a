/* SPDX-License-Identifier: MIT */
/*
 * line.h - build one line of text in a buffer of fixed size, and write it to a descriptor.
 *
 * For messages from inside malloc: no stdio, no locale, no memory, errno preserved. What does not fit is cut,
 * and the line still ends with its newline. Pure but for line_write().
 */
#ifndef HEAPTALLY_LINE_H
#define HEAPTALLY_LINE_H

#include <stddef.h>
#include <stdint.h>

#define LINE_MAX_BYTES 1024u

struct line {
    size_t length;
    char text[LINE_MAX_BYTES];
};

void line_start(struct line *line, const char *text);
void line_text(struct line *line, const char *text);
void line_bytes(struct line *line, const char *bytes, size_t length);
void line_number(struct line *line, int64_t value);
void line_hex(struct line *line, uint64_t value); /* with 0x */
void line_pad(struct line *line, size_t column);  /* spaces up to that column, at least one */

/* End the line with a newline and write it whole; errors are dropped: there is nobody to tell. */
void line_write(struct line *line, int fd);

#endif
