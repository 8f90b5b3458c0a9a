/* SPDX-License-Identifier: MIT */
#include "preload/line.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void line_start(struct line *line, const char *text)
{
    line->length = 0;
    line_text(line, text);
}

void line_bytes(struct line *line, const char *bytes, size_t length)
{
    size_t room = LINE_MAX_BYTES - 1 - line->length; /* one byte is kept for the newline */
    if (length > room)
        length = room;
    memcpy(line->text + line->length, bytes, length);
    line->length += length;
}

void line_text(struct line *line, const char *text)
{
    line_bytes(line, text, strlen(text));
}

void line_number(struct line *line, int64_t value)
{
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        digits[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (value < 0)
        digits[--at] = '-';
    line_bytes(line, digits + at, sizeof(digits) - at);
}

void line_hex(struct line *line, uint64_t value)
{
    char digits[16];
    size_t at = sizeof(digits);
    do
        digits[--at] = "0123456789abcdef"[value & 15];
    while ((value >>= 4) != 0);
    line_text(line, "0x");
    line_bytes(line, digits + at, sizeof(digits) - at);
}

void line_pad(struct line *line, size_t column)
{
    do
        line_bytes(line, " ", 1);
    while (line->length < column && line->length < LINE_MAX_BYTES - 1);
}

void line_write(struct line *line, int fd)
{
    int saved = errno;
    line->text[line->length++] = '\n';
    /* A raw call: write() is a cancellation point and may be the program's own. */
    for (size_t at = 0; at < line->length;) {
        long n = syscall(SYS_write, fd, line->text + at, line->length - at);
        if (n <= 0 && !(n < 0 && errno == EINTR))
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    line->length = 0;
    errno = saved;
}
