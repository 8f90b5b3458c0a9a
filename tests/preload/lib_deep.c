/* SPDX-License-Identifier: MIT */
/* Opened with RTLD_DEEPBIND: its strdup must still be served by the same malloc as the program's free. */
#include <string.h>

char *deep_copy(const char *text);
char *deep_copy(const char *text)
{
    return strdup(text);
}
