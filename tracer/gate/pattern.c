/* SPDX-License-Identifier: MIT */
/*
 * pattern.c - literal pieces between the stars, each found at the first place after the one before.
 *
 * Taking the first place is never wrong for a piece that a star follows (whatever a later place would leave
 * for the rest, the earlier one leaves too), so that nothing is ever tried twice: the cost is one search a
 * piece. Only the piece before '$' has its place fixed, from the other side.
 */
#include "tracer/gate/pattern.h"

#include <stddef.h>
#include <string.h>

static bool ends_with(const char *text, const char *piece, size_t length)
{
    size_t have = strlen(text);
    return have >= length && memcmp(text + have - length, piece, length) == 0;
}

/* Where the text goes on after the first occurrence of the piece, NULL when there is none. */
static const char *after_piece(const char *text, const char *piece, size_t length)
{
    const char *at = memmem(text, strlen(text), piece, length);
    return at ? at + length : NULL;
}

bool pattern_matches(const char *pattern, const char *text)
{
    if (!text || !*text)
        return false;
    bool here = *pattern == '^'; /* the next piece has to be where the text stands now */
    bool starred = false;
    if (here)
        pattern++;
    for (;;) {
        size_t length = strcspn(pattern, "*$");
        if (pattern[length] == '$') {
            if (here)
                return strlen(text) == length && memcmp(text, pattern, length) == 0;
            return (length || starred) && ends_with(text, pattern, length);
        }
        if (here && strncmp(text, pattern, length) != 0)
            return false;
        text = here ? text + length : after_piece(text, pattern, length);
        if (!text || !pattern[length])
            return text != NULL;
        pattern += length + 1;
        here = false;
        starred = true;
    }
}
