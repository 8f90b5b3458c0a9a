/* SPDX-License-Identifier: MIT */
#include "tracer/image/memory.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_PAGES  ((size_t)1 << MEMORY_CACHE_BITS)
#define TAG_FULL     1u
#define TAG_NOTHING  2u
#define BITE_PAGES   (MEMORY_BITE / MEMORY_PAGE)
#define FAILURES_MAX 256u

bool memory_open(struct memory *memory, const struct memory_source *source, uint64_t probe)
{
    *memory = (struct memory){.source = source};
    memory->bite = malloc(MEMORY_BITE);
    memory->tags = calloc(CACHE_PAGES, sizeof(*memory->tags));
    memory->pages = malloc(CACHE_PAGES * MEMORY_PAGE);
    /* Some kernels and sandboxes have a pagemap of zeros: believing it would make every pointer vanish. */
    uint8_t seen = 0;
    memory->residency = source->resident &&
                        source->resident(source->ctx, probe & -MEMORY_PAGE, 1, &seen) == 1 &&
                        seen == SOURCE_PRESENT;
    if (memory->bite && memory->tags && memory->pages)
        return true;
    memory_close(memory);
    return false;
}

void memory_close(struct memory *memory)
{
    free(memory->bite);
    free(memory->tags);
    free(memory->pages);
    *memory = (struct memory){0};
}

bool memory_read(const struct memory *memory, uint64_t addr, void *buf, size_t len)
{
    return memory->source->read(memory->source->ctx, addr, buf, len) == len;
}

bool memory_word(struct memory *memory, uint64_t addr, uint64_t *ret)
{
    uint64_t page = addr & -MEMORY_PAGE;
    size_t place = (size_t)(addr / MEMORY_PAGE) & (CACHE_PAGES - 1);
    unsigned char *bytes = memory->pages + place * MEMORY_PAGE;
    if ((memory->tags[place] & -MEMORY_PAGE) != page || !memory->tags[place])
        memory->tags[place] = page | (memory_read(memory, page, bytes, MEMORY_PAGE) ? TAG_FULL : TAG_NOTHING);
    if (memory->tags[place] & TAG_NOTHING)
        return false;
    memcpy(ret, bytes + addr % MEMORY_PAGE, sizeof(*ret));
    return true;
}

struct stream {
    struct memory *memory;
    memory_words_fn *fn;
    void *ctx;
    uint64_t missing;  /* bytes */
    unsigned failures; /* pages in a row that could not be read though their mapping says they can */
};

/* Where to go on after addr could not be read. What is not mapped readable is stepped over whole; a mapping that
 * does not keep its word (a file that became shorter, a device) is given up after a while: it may be very large. */
static uint64_t next_after(struct stream *stream, uint64_t addr)
{
    uint64_t next_page = (addr | (MEMORY_PAGE - 1)) + 1;
    const struct maps *maps = stream->memory->maps;
    const struct map *map = maps ? maps_first_after(maps, addr) : NULL;
    if (!maps)
        return next_page;
    if (!map)
        return UINT64_MAX;
    if (addr < map->start)
        return map->start;
    if (!map->readable || ++stream->failures > FAILURES_MAX)
        return map->end;
    return next_page;
}

/* Read [start, end), at most one bite, and say where to go on: past the end when what comes is known not to be there. */
static bool stream_bite(struct stream *stream, uint64_t start, uint64_t end, uint64_t *ret_next)
{
    const struct memory_source *source = stream->memory->source;
    while (start < end) {
        size_t want = (size_t)(end - start);
        size_t got = source->read(source->ctx, start, stream->memory->bite, want) & ~(size_t)7;
        if (got && !stream->fn(stream->ctx, start, stream->memory->bite, got / 8))
            return false;
        stream->failures = got ? 0 : stream->failures;
        start += got;
        if (got == want)
            break;
        uint64_t next = next_after(stream, start);
        stream->missing += (next < end ? next : end) - start;
        start = next;
    }
    *ret_next = start;
    return true;
}

/* At most one bite, of which only pages that were written to are read. */
static bool stream_touched(struct stream *stream, uint64_t start, uint64_t end, uint64_t *ret_next)
{
    const struct memory_source *source = stream->memory->source;
    uint8_t seen[BITE_PAGES + 1];
    uint64_t base = start & -MEMORY_PAGE, next = start;
    size_t pages = (size_t)((end - base + MEMORY_PAGE - 1) / MEMORY_PAGE);
    size_t told = source->resident(source->ctx, base, pages, seen);
    memset(seen + told, SOURCE_PRESENT, pages - told); /* not told: read it */
    for (size_t i = 0; i < pages;) {
        size_t run = i;
        while (run < pages && seen[run] == SOURCE_PRESENT)
            run++;
        uint64_t from = base + i * MEMORY_PAGE, to = base + run * MEMORY_PAGE;
        from = from > next ? from : next;
        to = to < end ? to : end;
        if (from < to && !stream_bite(stream, from, to, &next))
            return false;
        i = run > i ? run : i + 1;
    }
    *ret_next = next > end ? next : end;
    return true;
}

bool memory_stream(struct memory *memory, uint64_t start, uint64_t end, bool touched_only,
                   memory_words_fn *fn, void *ctx, uint64_t *ret_missing)
{
    struct stream stream = {.memory = memory, .fn = fn, .ctx = ctx};
    bool going = true;
    start = (start + 7) & ~UINT64_C(7);
    end &= ~UINT64_C(7);
    while (going && start < end) {
        uint64_t stop = (start & -(uint64_t)MEMORY_BITE) + MEMORY_BITE, next = start;
        stop = stop < end ? stop : end;
        going = touched_only && memory->residency ? stream_touched(&stream, start, stop, &next)
                                                  : stream_bite(&stream, start, stop, &next);
        if (next > stop)
            stream.missing += (next < end ? next : end) - stop;
        start = next;
    }
    if (ret_missing)
        *ret_missing += stream.missing;
    return going;
}
