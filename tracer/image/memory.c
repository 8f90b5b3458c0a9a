/* SPDX-License-Identifier: MIT */
#include "tracer/image/memory.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_PAGES ((size_t)1 << MEMORY_CACHE_BITS)
#define TAG_FULL    1u
#define TAG_NOTHING 2u
#define BITE_PAGES  (MEMORY_BITE / MEMORY_PAGE)

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

/* Read [start, end), at most one bite; a page that cannot be read is skipped. */
static bool stream_bite(struct memory *memory, uint64_t start, uint64_t end, memory_words_fn *fn, void *ctx,
                        uint64_t *missing)
{
    while (start < end) {
        size_t want = (size_t)(end - start);
        size_t got = memory->source->read(memory->source->ctx, start, memory->bite, want) & ~(size_t)7;
        if (got && !fn(ctx, start, memory->bite, got / 8))
            return false;
        if (got == want)
            return true;
        uint64_t stopped = start + got;
        uint64_t next = (stopped | (MEMORY_PAGE - 1)) + 1;
        start = next < end ? next : end;
        *missing += start - stopped;
    }
    return true;
}

/* At most one bite, of which only pages that were written to are read. */
static bool stream_touched(struct memory *memory, uint64_t start, uint64_t end, memory_words_fn *fn,
                           void *ctx, uint64_t *missing)
{
    uint8_t seen[BITE_PAGES + 1];
    uint64_t base = start & -MEMORY_PAGE;
    size_t pages = (size_t)((end - base + MEMORY_PAGE - 1) / MEMORY_PAGE);
    size_t told = memory->source->resident(memory->source->ctx, base, pages, seen);
    memset(seen + told, SOURCE_PRESENT, pages - told); /* not told: read it */
    for (size_t i = 0; i < pages;) {
        size_t run = i;
        while (run < pages && seen[run] == SOURCE_PRESENT)
            run++;
        uint64_t from = base + i * MEMORY_PAGE, to = base + run * MEMORY_PAGE;
        if (run > i &&
            !stream_bite(memory, from > start ? from : start, to < end ? to : end, fn, ctx, missing))
            return false;
        i = run > i ? run : i + 1;
    }
    return true;
}

bool memory_stream(struct memory *memory, uint64_t start, uint64_t end, bool touched_only,
                   memory_words_fn *fn, void *ctx, uint64_t *ret_missing)
{
    uint64_t missing = 0;
    bool going = true;
    start = (start + 7) & ~UINT64_C(7);
    end &= ~UINT64_C(7);
    while (going && start < end) {
        uint64_t stop = (start & -(uint64_t)MEMORY_BITE) + MEMORY_BITE;
        stop = stop < end ? stop : end;
        going = touched_only && memory->residency ? stream_touched(memory, start, stop, fn, ctx, &missing)
                                                  : stream_bite(memory, start, stop, fn, ctx, &missing);
        start = stop;
    }
    if (ret_missing)
        *ret_missing += missing;
    return going;
}
