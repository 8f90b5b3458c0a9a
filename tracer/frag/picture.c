/* SPDX-License-Identifier: MIT */
/*
 * picture.c - the study as a gnuplot script with its data inside.
 *
 *    +----------------------------------------+
 *    | RSS over time, a line per allocator,   |   time is the share of each run: the accounting run is slower, and
 *    | live bytes as an area under them       |   allocators are not equally fast
 *    +-------------------+--------------------+
 *    | heap at the peak  | heap at the end    |   an arena is a tile of 4 x 4 slots (map.c)
 *    +-------------------+--------------------+
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/frag/map.h"
#include "tracer/frag/study.h"

#define MIB        (1024.0 * 1024)
#define TITLE_MAX  90
#define WIDTH      1100
#define HEIGHT     1000
#define MAP_BOTTOM 0.09
#define MAP_TOP    0.50

/* In single quotes, where only the quote itself is special. */
static void put_quoted(FILE *out, const char *text)
{
    size_t length = strlen(text), shown = length > TITLE_MAX ? TITLE_MAX : length;
    fputc('\'', out);
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\'')
            fputc('\'', out);
        fputc(c < ' ' || c == 0x7f ? '?' : c, out);
    }
    fputs(shown < length ? "...'" : "'", out);
}

/* --- the curves ---------------------------------------------------------------------------------------------- */

/* The run whose time is the median's stands for the allocator. */
static const struct frag_run *typical_run(const struct frag_allocator *allocator)
{
    const struct frag_run *best = NULL;
    double least = 0;
    for (unsigned i = 0; i < allocator->rounds; i++) {
        const struct frag_run *run = &allocator->run[i];
        double off = run->wall_s > allocator->wall.median ? run->wall_s - allocator->wall.median
                                                          : allocator->wall.median - run->wall_s;
        if (run->curve.count > 0 && (best == NULL || off < least)) {
            best = run;
            least = off;
        }
    }
    return best;
}

static double percent_of_run(const struct frag_curve *curve, size_t i)
{
    double first = curve->at[0].s, span = curve->at[curve->count - 1].s - first;
    return span > 0 ? 100 * (curve->at[i].s - first) / span : 0;
}

static void put_curve(FILE *out, const char *name, unsigned number, const struct frag_curve *curve, bool live)
{
    fprintf(out, "$%s%u << EOD\n", name, number);
    for (size_t i = 0; i < curve->count; i++) {
        uint64_t bytes = live ? curve->at[i].live : curve->at[i].rss;
        fprintf(out, "%.3f %.4f\n", percent_of_run(curve, i), (double)bytes / MIB);
    }
    if (curve->count == 1) /* a line needs two */
        fprintf(out, "100 %.4f\n", (double)(live ? curve->at[0].live : curve->at[0].rss) / MIB);
    fputs("EOD\n", out);
}

static void put_curves(FILE *out, const struct frag_study *study)
{
    for (unsigned i = 0; i < study->count; i++) {
        const struct frag_run *run = typical_run(&study->allocator[i]);
        if (run != NULL)
            put_curve(out, "rss", i, &run->curve, false);
    }
    if (study->account.counted && study->account.run.curve.count > 0)
        put_curve(out, "live", 0, &study->account.run.curve, true);
}

static void put_curve_plot(FILE *out, const struct frag_study *study)
{
    static const char *const colours[] = {"#d95f02", "#7570b3", "#1b7837", "#e7298a",
                                          "#666666", "#a6761d", "#1f78b4", "#e6ab02"};
    const char *comma = "plot ";
    fputs("set title 'Resident memory over time: ", out);
    fputs("' . ", out);
    put_quoted(out, study->command);
    fputs("\nset xlabel 'share of the run, %'\nset ylabel 'MiB'\nset yrange [0:*]\nset xrange [0:100]\n"
          "set key at screen 0.985,0.94 right top noreverse Right\nset grid ytics lc rgb '#dddddd'\n"
          "set lmargin at screen 0.08\nset rmargin at screen 0.76\n"
          "set bmargin at screen 0.61\nset tmargin at screen 0.95\n",
          out);
    if (study->account.counted && study->account.run.curve.count > 0) {
        fprintf(out,
                "%s$live0 using 1:2 with filledcurves y1=0 fc rgb '#cfe3f5' title 'live bytes, as asked for'",
                comma);
        comma = ", \\\n  ";
    }
    for (unsigned i = 0; i < study->count; i++) {
        const struct frag_run *run = typical_run(&study->allocator[i]);
        if (run == NULL)
            continue;
        fprintf(out, "%s$rss%u using 1:2 with lines lw 2 lc rgb '%s' title 'RSS, %s (%.2f s)'", comma, i,
                colours[i % 8], study->allocator[i].name, run->wall_s);
        comma = ", \\\n  ";
    }
    fputs(*comma == 'p' ? "plot 0 notitle\n" : "\n", out);
}

/* --- the maps ------------------------------------------------------------------------------------------------ */

static void put_map(FILE *out, const struct frag_heap *heap, const char *when, double left, double right)
{
    struct heap_map map = heap_map_of(heap);
    fprintf(out, "set title 'heaptally''s heap at the %s: %.1f MiB live in %llu arenas of 256 KiB'\n", when,
            (double)heap->asked / MIB, (unsigned long long)heap->arenas);
    fprintf(out,
            "unset xlabel\nunset ylabel\nunset key\nunset tics\nunset grid\nset border 0\n"
            "set lmargin at screen %.3f\nset rmargin at screen %.3f\nset bmargin at screen %.3f\n"
            "set tmargin at screen %.3f\nset xrange [0:%u]\nset yrange [%u:0]\n",
            left, right, MAP_BOTTOM, MAP_TOP, map.columns, map.rows);
    fputs("plot '-' using 1:2:3:4:5:6:7 with boxxyerror fs solid noborder lc rgb variable notitle\n", out);
    heap_map_write(&map, heap, out);
    fputs("e\n", out);
    if (heap->mappings > 0)
        fprintf(out, "# and %llu mappings\n", (unsigned long long)heap->mappings);
}

static void put_box(FILE *out, double x, double y, uint32_t colour, const char *text)
{
    fprintf(out,
            "set object rectangle from screen %.4f,%.4f to screen %.4f,%.4f fc rgb '#%06x' fs solid border "
            "lc rgb "
            "'#888888'\nset label '%s' at screen %.4f,%.4f left front\n",
            x, y, x + 0.018, y + 0.018, colour, text, x + 0.022, y + 0.009);
}

/* Down the right edge, beside the maps. */
static void put_map_legend(FILE *out)
{
    static const struct {
        const char *text;
        struct heap_tile tile;
    } rows[] = {
        {"blocks of 16 B", {.kind = TILE_POOL, .block_size = 16, .occupancy = 1}},
        {"64 B", {.kind = TILE_POOL, .block_size = 64, .occupancy = 1}},
        {"256 B", {.kind = TILE_POOL, .block_size = 256, .occupancy = 1}},
        {"1 KiB", {.kind = TILE_POOL, .block_size = 1024, .occupancy = 1}},
        {"4 KiB", {.kind = TILE_POOL, .block_size = 4096, .occupancy = 1}},
        {"32 KiB", {.kind = TILE_POOL, .block_size = 32768, .occupancy = 1}},
        {"a larger block", {.kind = TILE_SPAN, .block_size = 65536, .occupancy = 1}},
        {"64 B, half full", {.kind = TILE_POOL, .block_size = 64, .occupancy = 0.5f}},
        {"64 B, tenth full", {.kind = TILE_POOL, .block_size = 64, .occupancy = 0.1f}},
        {"empty, resident", {.kind = TILE_CACHED}},
        {"given back", {.kind = TILE_GONE}},
        {"descriptors", {.kind = TILE_HEAD}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        put_box(out, 0.83, MAP_TOP - 0.03 - 0.033 * (double)i, heap_map_colour(&rows[i].tile), rows[i].text);
}

static void put_maps(FILE *out, const struct frag_study *study)
{
    const struct frag_account *a = &study->account;
    bool peak = a->has_peak && a->peak.tiles > 0, end = a->has_end && a->end.tiles > 0;
    if (!peak && !end)
        return;
    fputs("set label 'a tile is an arena, a square of it a slot of 16 KiB; the colour says the size of its "
          "blocks, the "
          "paleness how much of it is free' at screen 0.04,0.045 left\n",
          out);
    put_map_legend(out);
    if (peak)
        put_map(out, &a->peak, "peak", 0.04, end ? 0.41 : 0.79);
    fputs("unset label\nunset object\n", out);
    if (end)
        put_map(out, &a->end, "end", peak ? 0.43 : 0.04, 0.80);
}

/* --- the whole ------------------------------------------------------------------------------------------------ */

static void put_script(FILE *out, const struct frag_study *study, const char *path, const char *terminal)
{
    bool maps = study->account.has_peak || study->account.has_end;
    fprintf(
        out,
        "set encoding utf8\nset terminal %s noenhanced font 'sans,11' size %d,%d background rgb 'white'\n",
        terminal, WIDTH, HEIGHT);
    fputs("set output ", out);
    fputc('\'', out);
    for (const char *p = path; *p; p++)
        fputs(*p == '\'' ? "''" : (char[]){*p, '\0'}, out);
    fputs("'\n", out);
    put_curves(out, study);
    fputs("set multiplot\n", out);
    put_curve_plot(out, study);
    if (maps)
        put_maps(out, study);
    fputs("unset multiplot\nunset output\n", out);
}

char *study_picture(const struct frag_study *study, const char *path, const char *terminal)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return NULL;
    put_script(out, study, path, terminal);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
