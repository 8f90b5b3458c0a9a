/* SPDX-License-Identifier: MIT */
#include "tracer/report/print.h"

#include <string.h>

struct digits print_digits(uint64_t value)
{
    struct digits d;
    size_t at = sizeof d.text - 1;
    d.text[at] = '\0';
    int group = 0;
    do {
        if (group++ == 3) {
            d.text[--at] = ',';
            group = 1;
        }
        d.text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    memmove(d.text, d.text + at, sizeof d.text - at);
    return d;
}

void print_count(FILE *out, uint64_t value, const char *singular)
{
    fprintf(out, "%s %s%s", print_digits(value).text, singular, value == 1 ? "" : "s");
}

static uint64_t rounded(uint64_t ms, uint64_t unit)
{
    return ms / unit + (ms % unit >= unit / 2);
}

struct age print_age(uint64_t ms)
{
    static const struct {
        uint64_t ms, below; /* of one, and how many become the next unit */
        const char *name;
    } units[] = {{1000, 120, "s"}, {60000, 120, "min"}, {3600000, 48, "h"}, {86400000, UINT64_MAX, "days"}};
    unsigned i = 0;
    while (rounded(ms, units[i].ms) >= units[i].below)
        i++;
    return (struct age){rounded(ms, units[i].ms), units[i].name};
}

/* Continuation bytes are compared one by one, so that a NUL among them ends the look. */
static size_t sequence_length(const unsigned char *at)
{
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* Over-long forms, surrogates, past the last plane, and the control characters of Latin-1. */
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f) || (at[0] == 0xc2 && at[1] < 0xa0))
        return 0;
    return length;
}

size_t print_character_length(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80)
        return at[0] >= 0x20 && at[0] != 0x7f ? 1 : 0;
    return sequence_length(at);
}

size_t print_clean(FILE *out, const char *text, size_t limit)
{
    size_t columns = 0;
    while (*text != '\0') {
        if (limit > 3 && columns + 3 >= limit && strnlen(text, 4) > 3) {
            fputs("...", out);
            return columns + 3;
        }
        size_t length = print_character_length(text);
        if (length == 0)
            fputc('?', out);
        else
            fwrite(text, 1, length, out);
        text += length == 0 ? 1 : length;
        columns++;
    }
    return columns;
}

const char *print_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL || slash[1] == '\0' ? path : slash + 1;
}

const char *print_style(bool colour, enum style style)
{
    static const char *const sgr[] = {
        [STYLE_PLAIN] = "\033[0m",  [STYLE_BOLD] = "\033[1m",    [STYLE_RED] = "\033[1;31m",
        [STYLE_GREEN] = "\033[32m", [STYLE_YELLOW] = "\033[33m", [STYLE_DIM] = "\033[2m",
    };
    return colour ? sgr[style] : "";
}
