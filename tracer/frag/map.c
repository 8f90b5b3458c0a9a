/* SPDX-License-Identifier: MIT */
#include "tracer/frag/map.h"

#include <stdbool.h>
#include <string.h>

#include "allocator/layout.h"

#define SIDE     4u    /* slots along an arena's edge */
#define GAP      0.06  /* round an arena, of its width */
#define WIDER    1.5   /* columns for each row */
#define PALEST   0.15  /* what a pool with next to nothing in it keeps of its colour */
#define BLUE     240.0 /* degrees; red is 0 */
#define MAGENTA  300.0
#define SMALLEST 4u /* log2 of the smallest block */
#define LARGEST  15u

/* --- colours ------------------------------------------------------------------------------------------------- */

/* Of full saturation, a little dark; `strength` 0 is white. */
static uint32_t colour_of(double hue, double strength)
{
    double part = hue / 60, channel[3];
    for (int i = 0; i < 3; i++) { /* red, green, blue are 120 degrees apart */
        double away = part - 2 * i;
        away += away > 3 ? -6 : away < -3 ? 6 : 0;
        away = away < 0 ? -away : away;
        channel[i] = away <= 1 ? 1 : away >= 2 ? 0 : 2 - away;
    }
    uint32_t colour = 0;
    for (int i = 0; i < 3; i++)
        colour = colour << 8 | (uint32_t)(255 * (1 - strength * (1 - 0.85 * channel[i])));
    return colour;
}

static double hue_of(uint32_t block_size)
{
    double steps = 0;
    unsigned log = block_size < 16 ? SMALLEST : 31u - (unsigned)__builtin_clz(block_size);
    log = log > LARGEST ? LARGEST : log;
    steps = (double)(log - SMALLEST) + (double)(block_size - (1u << log)) / (double)(1u << log);
    steps = steps > LARGEST - SMALLEST ? LARGEST - SMALLEST : steps;
    return BLUE * (1 - steps / (LARGEST - SMALLEST));
}

uint32_t heap_map_colour(const struct heap_tile *tile)
{
    double strength = PALEST + (1 - PALEST) * (double)(tile->occupancy > 1 ? 1 : tile->occupancy);
    switch (tile->kind) {
    case TILE_HEAD:
        return 0x202020;
    case TILE_POOL:
        return colour_of(hue_of(tile->block_size), strength);
    case TILE_SPAN:
        return colour_of(MAGENTA, strength);
    case TILE_CACHED:
        return 0xb4b4b4;
    case TILE_GONE:
        break;
    }
    return 0xf2f2f2;
}

/* --- layout --------------------------------------------------------------------------------------------------- */

struct heap_map heap_map_of(const struct frag_heap *heap)
{
    struct heap_map map = {.columns = 1, .rows = 1};
    uint64_t last = UINT64_MAX;
    for (size_t i = 0; i < heap->tiles; i++) {
        map.arenas += heap->tile[i].start >> ARENA_SHIFT != last;
        last = heap->tile[i].start >> ARENA_SHIFT;
    }
    while ((double)map.columns * map.columns < WIDER * map.arenas)
        map.columns++;
    if (map.arenas > 0)
        map.rows = (map.arenas + map.columns - 1) / map.columns;
    return map;
}

struct rectangle {
    double left, right, top, bottom;
};

static struct rectangle arena_rectangle(const struct heap_map *map, unsigned arena)
{
    unsigned row = arena / map->columns;
    double x = arena % map->columns, y = row;
    return (struct rectangle){x + GAP, x + 1 - GAP, y + GAP, y + 1 - GAP};
}

static void put(FILE *out, const struct rectangle *r, uint32_t colour)
{
    fprintf(out, "%.4f %.4f %.4f %.4f %.4f %.4f %u\n", (r->left + r->right) / 2, (r->top + r->bottom) / 2,
            r->left, r->right, r->top, r->bottom, colour);
}

static void put_fine(FILE *out, const struct rectangle *whole, const uint32_t *colour)
{
    double width = (whole->right - whole->left) / SIDE, height = (whole->bottom - whole->top) / SIDE;
    for (unsigned row = 0; row < SIDE; row++) {
        for (unsigned from = 0, to; from < SIDE; from = to) {
            for (to = from + 1; to < SIDE && colour[row * SIDE + to] == colour[row * SIDE + from];)
                to++;
            struct rectangle r = {whole->left + from * width, whole->left + to * width,
                                  whole->top + row * height, whole->top + (row + 1) * height};
            put(out, &r, colour[row * SIDE + from]);
        }
    }
}

static void put_coarse(FILE *out, const struct rectangle *whole, const uint32_t *colour)
{
    uint32_t sum[3] = {0};
    for (unsigned slot = 0; slot < ARENA_SLOTS; slot++)
        for (int i = 0; i < 3; i++)
            sum[i] += colour[slot] >> (16 - 8 * i) & 255;
    put(out, whole, sum[0] / ARENA_SLOTS << 16 | sum[1] / ARENA_SLOTS << 8 | sum[2] / ARENA_SLOTS);
}

static void put_arena(const struct heap_map *map, unsigned arena, const uint32_t *colour, FILE *out)
{
    struct rectangle whole = arena_rectangle(map, arena);
    if (map->arenas > MAP_FINE_ARENAS)
        put_coarse(out, &whole, colour);
    else
        put_fine(out, &whole, colour);
}

static void paint(uint32_t *colour, const struct heap_tile *tile)
{
    unsigned first = (unsigned)(tile->start >> SLOT_SHIFT) % ARENA_SLOTS, count = tile->bytes >> SLOT_SHIFT;
    for (unsigned slot = first; slot < first + count && slot < ARENA_SLOTS; slot++)
        colour[slot] = heap_map_colour(tile);
}

void heap_map_write(const struct heap_map *map, const struct frag_heap *heap, FILE *out)
{
    uint32_t colour[ARENA_SLOTS];
    unsigned arena = 0;
    for (size_t i = 0; i < heap->tiles; arena++) {
        uint64_t id = heap->tile[i].start >> ARENA_SHIFT;
        memset(colour, 0xff, sizeof(colour));
        for (; i < heap->tiles && heap->tile[i].start >> ARENA_SHIFT == id; i++)
            paint(colour, &heap->tile[i]);
        put_arena(map, arena, colour, out);
    }
}
