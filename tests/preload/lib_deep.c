/* SPDX-License-Identifier: MIT */
/* Opened with RTLD_DEEPBIND: its malloc must still be the same as the program's free. */
#include <stdlib.h>
#include <string.h>

char *deep_copy(const char *text);
char *deep_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}
