/* SPDX-License-Identifier: MIT */
#include "tracer/image/maps.h"

#include <stdlib.h>
#include <string.h>

static bool take_hex(const char **at, char end, uint64_t *ret)
{
    char *stop = NULL;
    /* strtoull would accept a sign and blanks; the kernel writes neither. */
    if (!strchr("0123456789abcdef", **at) || !**at)
        return false;
    *ret = strtoull(*at, &stop, 16);
    if (stop == *at || *stop != end)
        return false;
    *at = stop + 1;
    return true;
}

static bool take_permissions(const char **at, struct map *ret)
{
    const char *p = *at;
    if (strnlen(p, 5) < 5 || p[4] != ' ')
        return false;
    ret->readable = p[0] == 'r';
    ret->writable = p[1] == 'w';
    ret->executable = p[2] == 'x';
    ret->shared = p[3] == 's';
    *at = p + 5;
    return true;
}

/* One line, its newline already replaced by NUL. */
static bool maps_parse_line(const char *at, struct map *ret)
{
    uint64_t major, minor;
    if (!take_hex(&at, '-', &ret->start) || !take_hex(&at, ' ', &ret->end) || !take_permissions(&at, ret) ||
        !take_hex(&at, ' ', &ret->offset) || !take_hex(&at, ':', &major) || !take_hex(&at, ' ', &minor))
        return false;
    char *stop = NULL;
    ret->inode = strtoull(at, &stop, 10);
    if (stop == at || ret->start >= ret->end)
        return false;
    ret->device = major << 32 | minor;
    ret->name = stop + strspn(stop, " ");
    return true;
}

static size_t count_lines(const char *text)
{
    size_t lines = 1;
    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

bool maps_parse(char *text, struct maps *ret)
{
    *ret = (struct maps){.text = text, .items = calloc(count_lines(text), sizeof(struct map))};
    uint64_t last_end = 0;
    for (char *line = text, *next; ret->items && line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        struct map *map = &ret->items[ret->count];
        if (maps_parse_line(line, map) && map->start >= last_end) {
            last_end = map->end;
            ret->count++;
        } else {
            ret->refused++;
        }
    }
    if (ret->count)
        return true;
    maps_free(ret);
    return false;
}

void maps_free(struct maps *maps)
{
    free(maps->items);
    free(maps->text);
    *maps = (struct maps){0};
}

const struct map *maps_first_after(const struct maps *maps, uint64_t addr)
{
    size_t low = 0, high = maps->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (maps->items[middle].end <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low < maps->count ? &maps->items[low] : NULL;
}

const struct map *maps_find(const struct maps *maps, uint64_t addr)
{
    const struct map *map = maps_first_after(maps, addr);
    return map && map->start <= addr ? map : NULL;
}

bool map_is_file(const struct map *map)
{
    return map->name[0] != '\0' && map->name[0] != '[';
}
