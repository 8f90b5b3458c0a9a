/* SPDX-License-Identifier: MIT */
#include "tracer/frag/sample.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- curves ---------------------------------------------------------------------------------------------- */

/* Every second sample goes; the first stays. */
static void thin(struct frag_curve *curve)
{
    size_t kept = 0;
    for (size_t i = 0; i < curve->count; i += 2)
        curve->at[kept++] = curve->at[i];
    double span = kept > 1 ? curve->at[kept - 1].s - curve->at[0].s : 0;
    curve->count = kept;
    curve->apart_s = span / CURVE_MAX * 2;
}

bool frag_curve_add(struct frag_curve *curve, const struct frag_sample *sample)
{
    if (curve->count > 0 && sample->s - curve->at[curve->count - 1].s < curve->apart_s)
        return true;
    if (curve->count == CURVE_MAX)
        thin(curve);
    if (curve->count == curve->capacity) {
        size_t more = curve->capacity ? curve->capacity * 2 : 64;
        struct frag_sample *grown = realloc(curve->at, more * sizeof(*grown));
        if (grown == NULL)
            return false;
        curve->at = grown;
        curve->capacity = more;
    }
    curve->at[curve->count++] = *sample;
    return true;
}

void frag_curve_free(struct frag_curve *curve)
{
    free(curve->at);
    *curve = (struct frag_curve){0};
}

double frag_curve_mean(const struct frag_curve *curve, size_t field)
{
    double area = 0;
    if (curve->count == 0)
        return 0;
#define VALUE(i) ((double)*(const uint64_t *)((const char *)&curve->at[i] + field))
    for (size_t i = 1; i < curve->count; i++)
        area += (VALUE(i - 1) + VALUE(i)) / 2 * (curve->at[i].s - curve->at[i - 1].s);
    double span = curve->at[curve->count - 1].s - curve->at[0].s;
    return span > 0 ? area / span : VALUE(0);
#undef VALUE
}

/* --- /proc ----------------------------------------------------------------------------------------------- */

/* "Name:     123 kB" at the start of a line. */
static bool field_kb(const char *text, const char *name, uint64_t *ret_bytes)
{
    size_t length = strlen(name);
    for (const char *line = text; line != NULL && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) != 0 || line[length] != ':')
            continue;
        *ret_bytes = strtoull(line + length + 1, NULL, 10) * 1024;
        return true;
    }
    return false;
}

bool frag_rollup_parse(const char *text, struct frag_sample *ret)
{
    return field_kb(text, "Rss", &ret->rss) && field_kb(text, "Anonymous", &ret->anonymous) &&
           field_kb(text, "LazyFree", &ret->lazy_free);
}

/* Opened anew each time: an open smaps_rollup keeps speaking of the image that was there before an exec. */
static bool read_whole(int pid, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

bool frag_rollup_read(int pid, struct frag_sample *ret)
{
    char text[4096];
    return read_whole(pid, "smaps_rollup", text, sizeof(text)) && frag_rollup_parse(text, ret);
}

uint64_t frag_high_water(int pid)
{
    char text[4096];
    uint64_t bytes = 0;
    return read_whole(pid, "status", text, sizeof(text)) && field_kb(text, "VmHWM", &bytes) ? bytes : 0;
}

/* The 28th field of /proc/PID/stat; the second may have spaces and parentheses in it. */
uint64_t frag_image(int pid)
{
    char text[1024];
    if (!read_whole(pid, "stat", text, sizeof(text)))
        return 0;
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 28; field++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtoull(at + 1, NULL, 10) : 0;
}

bool frag_statm_read(int pid, uint64_t *ret_rss, uint64_t *ret_anonymous)
{
    char text[256];
    unsigned long long size, resident, shared;
    if (!read_whole(pid, "statm", text, sizeof(text)) ||
        sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3 || resident == 0)
        return false;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    *ret_rss = resident * page;
    *ret_anonymous = resident > shared ? (resident - shared) * page : 0;
    return true;
}
