/* SPDX-License-Identifier: MIT */
/*
 * The C library's figures and tuning: mallinfo, malloc_stats, malloc_info, malloc_trim, mallopt.
 *
 * Figures are of the whole heap: there is no "main arena" here. What the names of struct mallinfo2 stand for:
 *   arena, fordblks   memory held for pools and spans, and the part of it that no block uses
 *   hblks, hblkhd     blocks with a mapping of their own, and their bytes
 *   uordblks          bytes in live blocks outside of those mappings
 *   keepcost          empty memory that malloc_trim would give back
 */
#include "preload/face.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "preload/line.h"
#include "preload/thread.h"

static void read_figures(struct alloc_stats *ret)
{
    if (!face_state.started)
        start_first_call();
    thread_enter();
    alloc_stats_read(ret);
    thread_leave();
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    struct alloc_stats s = {0};
    read_figures(&s);
    return (struct mallinfo2){
        .arena = s.mapped - s.mapping_bytes,
        .ordblks = s.pools + s.spans,
        .hblks = s.mappings,
        .hblkhd = s.mapping_bytes,
        .uordblks = s.live_capacity - s.mapping_bytes,
        .fordblks = s.free_in_pools + s.cached,
        .keepcost = s.cached,
    };
}

static int int_of(size_t n)
{
    return n > INT_MAX ? INT_MAX : (int)n;
}

/* The old form: ints, which stop at their maximum instead of wrapping. (Its declaration warns of its own
 * age.) */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){
        .arena = int_of(wide.arena),
        .ordblks = int_of(wide.ordblks),
        .hblks = int_of(wide.hblks),
        .hblkhd = int_of(wide.hblkhd),
        .uordblks = int_of(wide.uordblks),
        .fordblks = int_of(wide.fordblks),
        .keepcost = int_of(wide.keepcost),
    };
}

/* What malloc_stats and malloc_info print, from one table. */
static const struct {
    const char *name, *text;
    size_t field;
} figures[] = {
#define FIGURE(name, text)                                                                                   \
    {                                                                                                        \
#name, text, offsetof(struct alloc_stats, name)                                                      \
    }
    FIGURE(live_blocks, "live blocks"),
    FIGURE(live_capacity, "bytes in live blocks"),
    FIGURE(free_in_pools, "bytes free in used pools"),
    FIGURE(cached, "bytes empty, resident"),
    FIGURE(purged, "bytes empty, given back"),
    FIGURE(metadata, "bytes of metadata"),
    FIGURE(mapped, "bytes mapped"),
    FIGURE(mapped_peak, "bytes mapped at the peak"),
    FIGURE(chunks, "chunks"),
    FIGURE(arenas_in_use, "arenas in use"),
    FIGURE(pools, "pools"),
    FIGURE(spans, "spans"),
    FIGURE(mappings, "mappings"),
    FIGURE(heaps, "heaps"),
#undef FIGURE
};
#define FIGURES (sizeof(figures) / sizeof(figures[0]))

static uint64_t figure_value(const struct alloc_stats *stats, size_t i)
{
    return *(const uint64_t *)((const char *)stats + figures[i].field);
}

EXPORT void malloc_stats(void)
{
    struct alloc_stats stats = {0};
    struct line line;
    read_figures(&stats);
    line_start(&line, "heaptally: the heap of this process");
    line_write(&line, STDERR_FILENO);
    for (size_t i = 0; i < FIGURES; i++) {
        line_start(&line, "  ");
        line_text(&line, figures[i].text);
        line_pad(&line, 30);
        line_number(&line, (int64_t)figure_value(&stats, i));
        line_write(&line, STDERR_FILENO);
    }
}

static void put_line(struct line *line, FILE *stream)
{
    line_text(line, "\n");
    fwrite(line->text, 1, line->length, stream);
}

/* The one use of stdio: the program names the stream. Nothing of ours is held. */
EXPORT int malloc_info(int options, FILE *stream)
{
    struct alloc_stats stats = {0};
    struct line line;
    if (options != 0)
        return EINVAL;
    read_figures(&stats);
    line_start(&line, "<malloc version=\"heaptally-1\">");
    put_line(&line, stream);
    for (size_t i = 0; i < FIGURES; i++) {
        line_start(&line, "  <");
        line_text(&line, figures[i].name);
        line_text(&line, ">");
        line_number(&line, (int64_t)figure_value(&stats, i));
        line_text(&line, "</");
        line_text(&line, figures[i].name);
        line_text(&line, ">");
        put_line(&line, stream);
    }
    line_start(&line, "</malloc>");
    put_line(&line, stream);
    return 0;
}

EXPORT int malloc_trim(size_t pad)
{
    (void)pad;
    int saved = errno;
    thread_enter();
    bool returned = alloc_purge();
    thread_leave();
    errno = saved;
    return returned;
}

/* Glibc's knobs turn nothing here. The answers are glibc's: 1, but for values that it would refuse. */
EXPORT int mallopt(int parameter, int value)
{
    if (parameter == M_MXFAST)
        return value >= 0 && value <= (int)(80 * sizeof(size_t) / 4);
    if (parameter == M_MMAP_THRESHOLD)
        return (unsigned)value <= 32u << 20;
    return 1;
}

__asm__(".globl __libc_mallopt\n\t.set __libc_mallopt, mallopt\n\t.type __libc_mallopt, @function");
__asm__(".globl __libc_mallinfo\n\t.set __libc_mallinfo, mallinfo\n\t.type __libc_mallinfo, @function");
