/* SPDX-License-Identifier: MIT */
/*
 * map.h - the tiles of a heap, laid out: where each goes, and in which colour.
 *
 *    arena 0      arena 1      ...   `columns` of them in a row, in the order of their addresses
 *    +--+--+--+--+
 *    | 0| 1| 2| 3|     16 slots of 16 KiB; slots of one colour that lie side by side are one rectangle
 *    | 4| 5| 6| 7|
 *    ...               a heap of very many arenas has one rectangle for each, of its slots' mean colour
 */
#ifndef HEAPTALLY_FRAG_MAP_H
#define HEAPTALLY_FRAG_MAP_H

#include <stdint.h>
#include <stdio.h>

#include "tracer/frag/heap.h"

/* More arenas than this are drawn whole: 65536 rectangles are as much as a viewer of SVG likes. */
#define MAP_FINE_ARENAS 1024u

struct heap_map {
    unsigned arenas, columns, rows;
};
struct heap_map heap_map_of(const struct frag_heap *heap);

/* 0xrrggbb. Hue: the size of its blocks, from blue (16 bytes) to red (32 KiB); paleness: what is free in it. */
uint32_t heap_map_colour(const struct heap_tile *tile);

/* A line a rectangle: x y left right top bottom colour. */
void heap_map_write(const struct heap_map *map, const struct frag_heap *heap, FILE *out);

#endif
