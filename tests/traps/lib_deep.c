/* SPDX-License-Identifier: MIT */
/* A library whose blocks come from inside the C library: strdup, asprintf, getline, realpath. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *deep_copy(const char *text);
char *deep_format(int number);
char *deep_line(const char *text);
char *deep_path(void);
void deep_release(void *p);

char *deep_copy(const char *text)
{
    return strdup(text);
}

char *deep_format(int number)
{
    char *text = NULL;
    return asprintf(&text, "%d as text", number) < 0 ? NULL : text;
}

char *deep_line(const char *text)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fmemopen((void *)text, strlen(text), "r");
    ssize_t got = getline(&line, &room, file);
    fclose(file);
    return got < 0 ? NULL : line;
}

char *deep_path(void)
{
    return realpath("/proc/../tmp", NULL);
}

void deep_release(void *p)
{
    free(p);
}
