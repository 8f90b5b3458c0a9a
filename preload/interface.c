/* SPDX-License-Identifier: MIT */
/*
 * The C library's figures and tuning: mallinfo, malloc_stats, malloc_info, malloc_trim, mallopt.
 *
 * One count of the whole heap (there is no "main arena" here) and one table of figures, told by all of them alike.
 * Names and meanings are jemalloc's, where it has the thing:
 *
 *   allocated   bytes in live blocks, as far as they may be used (malloc_usable_size)
 *   active      bytes of pools, spans and mappings that hold a live block: allocated + what is free inside
 *   metadata    bytes of descriptors, heaps, ledgers and the address map
 *   resident    active + cached + metadata: at most, for the kernel gives pages only when they are touched
 *   mapped      address space of all of it
 *   retained    of that, what holds nothing and was given back (or never touched); it costs no memory
 *
 *   resident + retained = mapped + metadata outside of chunks
 *
 * struct mallinfo2 says the same in the C library's words, and as there arena = uordblks + fordblks:
 *   uordblks, fordblks   of pools and spans: bytes in live blocks; bytes that no block uses, resident
 *   hblks, hblkhd        blocks with a mapping of their own, and their bytes
 *   keepcost             of fordblks, what malloc_trim would give back
 */
#include "preload/face.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "preload/line.h"
#include "preload/thread.h"

struct figures {
    struct alloc_stats stats;
    uint64_t allocated, active, resident, retained;
};

static void read_figures(struct figures *ret)
{
    if (!face_state.started)
        start_first_call();
    thread_enter();
    alloc_stats_read(&ret->stats);
    thread_leave();
    const struct alloc_stats *s = &ret->stats;
    ret->allocated = s->live_capacity;
    ret->active = s->live_capacity + s->free_in_pools;
    ret->resident = ret->active + s->cached + s->metadata;
    ret->retained = s->purged;
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    struct figures f = {0};
    read_figures(&f);
    struct mallinfo2 info = {
        .ordblks = f.stats.pools + f.stats.spans,
        .hblks = f.stats.mappings,
        .hblkhd = f.stats.mapping_bytes,
        .uordblks = f.allocated - f.stats.mapping_bytes,
        .fordblks = f.stats.free_in_pools + f.stats.cached,
        .keepcost = f.stats.cached,
    };
    info.arena = info.uordblks + info.fordblks;
    return info;
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
    char name[16], text[36];
    size_t field;
} table[] = {
#define FIGURE(name, text)                                                                                   \
    {                                                                                                        \
#name, text, offsetof(struct figures, name)                                                          \
    }
#define COUNT(name, text)                                                                                    \
    {                                                                                                        \
#name, text, offsetof(struct figures, stats.name)                                                    \
    }
    FIGURE(allocated, "bytes in live blocks"),
    FIGURE(active, "bytes of what holds a live block"),
    FIGURE(resident, "bytes resident, at most"),
    COUNT(mapped, "bytes of address space"),
    FIGURE(retained, "bytes of it given back"),
    COUNT(metadata, "bytes of metadata"),
    COUNT(free_in_pools, "bytes free in used pools"),
    COUNT(cached, "bytes empty, resident"),
    COUNT(mapped_peak, "bytes of address space, most"),
    COUNT(live_blocks, "live blocks"),
    COUNT(chunks, "chunks"),
    COUNT(arenas_in_use, "arenas in use"),
    COUNT(pools, "pools"),
    COUNT(spans, "spans"),
    COUNT(mappings, "mappings"),
    COUNT(mapping_bytes, "bytes in mappings"),
    COUNT(heaps, "heaps"),
#undef FIGURE
#undef COUNT
};
#define ROWS (sizeof(table) / sizeof(table[0]))

static uint64_t figure_value(const struct figures *figures, size_t row)
{
    return *(const uint64_t *)((const char *)figures + table[row].field);
}

EXPORT void malloc_stats(void)
{
    struct figures figures = {0};
    struct line line;
    read_figures(&figures);
    line_start(&line, "heaptally: the heap of this process");
    line_write(&line, STDERR_FILENO);
    for (size_t i = 0; i < ROWS; i++) {
        line_start(&line, "  ");
        line_text(&line, table[i].name);
        line_pad(&line, 18);
        line_text(&line, table[i].text);
        line_pad(&line, 52);
        line_number(&line, (int64_t)figure_value(&figures, i));
        line_write(&line, STDERR_FILENO);
    }
}

static void put_line(struct line *line, FILE *stream)
{
    line_text(line, "\n");
    fwrite(line->text, 1, line->length, stream);
}

/* <name type="TYPE" count="N" size="N"/>; no count when it is negative. */
static void put_element(FILE *stream, const char *name, const char *type, int64_t count, uint64_t size)
{
    struct line line;
    line_start(&line, "<");
    line_text(&line, name);
    line_text(&line, " type=\"");
    line_text(&line, type);
    if (count >= 0) {
        line_text(&line, "\" count=\"");
        line_number(&line, count);
    }
    line_text(&line, "\" size=\"");
    line_number(&line, (int64_t)size);
    line_text(&line, "\"/>");
    put_line(&line, stream);
}

/* The elements that readers of glibc's know. Free blocks are all "rest"; there are no fast bins. */
static void put_totals(FILE *stream, const struct figures *f, bool mappings)
{
    uint64_t inside = f->stats.mapped - f->stats.mapping_bytes;
    put_element(stream, "total", "fast", 0, 0);
    put_element(stream, "total", "rest", (int64_t)(f->stats.pools), f->stats.free_in_pools + f->stats.cached);
    if (mappings)
        put_element(stream, "total", "mmap", (int64_t)f->stats.mappings, f->stats.mapping_bytes);
    put_element(stream, "system", "current", -1, inside - f->retained);
    put_element(stream, "system", "max", -1, f->stats.mapped_peak);
    put_element(stream, "aspace", "total", -1, inside);
    put_element(stream, "aspace", "mprotect", -1, inside);
}

static void put_text(FILE *stream, const char *text)
{
    struct line line;
    line_start(&line, text);
    put_line(&line, stream);
}

/* The one use of stdio: the program names the stream. Nothing of ours is held. */
EXPORT int malloc_info(int options, FILE *stream)
{
    struct figures figures = {0};
    struct line line;
    if (options != 0)
        return EINVAL;
    read_figures(&figures);
    put_text(stream, "<malloc version=\"1\">");
    put_text(stream, "<heap nr=\"0\">");
    put_text(stream, "<sizes>\n</sizes>");
    put_totals(stream, &figures, false);
    put_text(stream, "</heap>");
    put_totals(stream, &figures, true);
    put_text(stream, "<heaptally version=\"1\">");
    for (size_t i = 0; i < ROWS; i++) {
        line_start(&line, "<figure name=\"");
        line_text(&line, table[i].name);
        line_text(&line, "\" value=\"");
        line_number(&line, (int64_t)figure_value(&figures, i));
        line_text(&line, "\"/>");
        put_line(&line, stream);
    }
    put_text(stream, "</heaptally>");
    put_text(stream, "</malloc>");
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
