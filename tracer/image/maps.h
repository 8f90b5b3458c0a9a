/* SPDX-License-Identifier: MIT */
/*
 * maps.h - the text of /proc/<tid>/maps as an array.
 *
 *    7f0c00000000-7f0c00021000 rw-p 00000000 00:00 0          [heap]
 *    start        end          perm offset   dev   inode      name
 *
 * Ascending and disjoint, as the kernel writes it; a line that is not (the text may come from the target over a
 * socket) is dropped and counted in `refused`.
 */
#ifndef HEAPTALLY_MAPS_H
#define HEAPTALLY_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map {
    uint64_t start, end, offset;
    uint64_t device, inode;
    bool readable, writable, executable, shared;
    const char *name; /* "" for anonymous; in the text the maps were made of */
};

struct maps {
    struct map *items;
    size_t count;
    size_t refused;
    char *text; /* owned; names point into it */
};

/* Takes text over (also on failure). false: memory is out, or not one line could be read. */
bool maps_parse(char *text, struct maps *ret);
void maps_free(struct maps *maps);

/* The first mapping that ends after addr: the one that holds it, or the next; NULL: none. */
const struct map *maps_first_after(const struct maps *maps, uint64_t addr);
/* The mapping that holds addr, or NULL. */
const struct map *maps_find(const struct maps *maps, uint64_t addr);

bool map_is_file(const struct map *map); /* has a file behind it: not "", not "[...]" */

#endif
