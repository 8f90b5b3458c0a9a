/* SPDX-License-Identifier: MIT */
/*
 * What the kernel holds for the program and hands back later: the data of epoll registrations, the values of timers.
 *
 *    /proc/TID/fdinfo/5    tfd:        7 events:       19 data:     55d0c0ffee00  pos:0 ino:...
 *    /proc/TID/timers      ID: 0 / signal: 34/000055d0c0ffee00 / notify: thread/4711 / ClockID: 1
 *
 * A frozen copy has its parent's descriptors but not its timers; those are asked of the parent, which runs on.
 */
#include "tracer/image/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/image/proc.h"

#define DESCRIPTORS_MAX 65536u

/* The line at *at, terminated; *at moves on to the next, NULL after the last. */
static char *take_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    if (end)
        *end++ = '\0';
    *at = end && *end ? end : NULL;
    return line;
}

static bool is_in_block(const struct image *image, uint64_t value)
{
    uint64_t offset;
    return finder_find(&image->finder, value, &offset) != FINDER_NONE;
}

static bool add_value(struct image *image, const char *where, uint64_t value)
{
    struct image_root root = {.kind = ROOT_KERNEL, .strict = true, .where = where};
    return where && roots_add_value(image, &root, value, false);
}

static bool add_epoll(struct image *image, const char *fd, char *text)
{
    for (char *at = text; at;) {
        unsigned long long data;
        int watched;
        if (sscanf(take_line(&at), "tfd: %d events: %*x data: %llx", &watched, &data) == 2 &&
            is_in_block(image, data) &&
            !add_value(image, roots_name(image, "epoll descriptor %s, for descriptor %d", fd, watched), data))
            return false;
    }
    return true;
}

static bool add_descriptors(struct image *image)
{
    char *list = image->source->proc(image->source->ctx, "fdinfo");
    unsigned seen = 0;
    bool going = true;
    for (char *at = list && *list ? list : NULL; going && at;) {
        char name[32], *fd = take_line(&at);
        if (++seen > DESCRIPTORS_MAX) {
            image_note(image, "more than %u descriptors: the rest was not searched for epoll data",
                       DESCRIPTORS_MAX);
            break;
        }
        snprintf(name, sizeof(name), "fdinfo/%.16s", fd);
        char *text = image->source->proc(image->source->ctx, name);
        if (text && strstr(text, "tfd:"))
            going = add_epoll(image, fd, text);
        free(text);
    }
    free(list);
    return going;
}

/* The process a frozen copy was made of, 0 when it cannot be said. */
static int parent_of(struct image *image)
{
    int parent = 0;
    char *text = image->source->proc(image->source->ctx, "status");
    const char *line = text ? strstr(text, "\nPPid:") : NULL;
    if (line)
        parent = atoi(line + strlen("\nPPid:"));
    free(text);
    return parent;
}

static bool add_timers(struct image *image)
{
    char *text = image->target.reason == WIRE_ON_REQUEST ? proc_read(parent_of(image), "timers")
                                                         : image->source->proc(image->source->ctx, "timers");
    bool going = true;
    unsigned timer = 0;
    for (char *at = text && *text ? text : NULL; going && at;) {
        unsigned long long value;
        const char *line = take_line(&at);
        (void)sscanf(line, "ID: %u", &timer);
        if (sscanf(line, "signal: %*d/%llx", &value) == 1 && is_in_block(image, value))
            going = add_value(image, roots_name(image, "timer %u", timer), value);
    }
    free(text);
    return going;
}

bool roots_add_kernel(struct image *image)
{
    if (!image->source->proc)
        return true;
    return add_descriptors(image) && add_timers(image);
}
