/* SPDX-License-Identifier: MIT */
#include "tracer/image/ranges.h"

#include <stdlib.h>
#include <string.h>

void ranges_free(struct ranges *set)
{
    free(set->items);
    *set = (struct ranges){0};
}

bool ranges_add(struct ranges *set, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? set->capacity * 2 : 64;
        struct range *grown = realloc(set->items, capacity * sizeof(*grown));
        if (!grown)
            return false;
        set->items = grown;
        set->capacity = capacity;
    }
    set->items[set->count++] = (struct range){start, end};
    return true;
}

static int range_compare(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

void ranges_normalize(struct ranges *set)
{
    if (set->count == 0)
        return;
    qsort(set->items, set->count, sizeof(*set->items), range_compare);
    size_t last = 0;
    for (size_t i = 1; i < set->count; i++) {
        struct range *into = &set->items[last];
        if (set->items[i].start > into->end)
            set->items[++last] = set->items[i];
        else if (set->items[i].end > into->end)
            into->end = set->items[i].end;
    }
    set->count = last + 1;
}

/* The first interval that ends after addr; count when there is none. */
static size_t ranges_first_after(const struct ranges *set, uint64_t addr)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->items[middle].end <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool ranges_insert(struct ranges *set, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    /* All that touch [start, end) become one with it. */
    size_t first = ranges_first_after(set, start ? start - 1 : 0), past = first;
    for (; past < set->count && set->items[past].start <= end; past++) {
        start = set->items[past].start < start ? set->items[past].start : start;
        end = set->items[past].end > end ? set->items[past].end : end;
    }
    size_t behind = set->count - past;
    if (past == first) {
        if (!ranges_add(set, start, end)) /* makes the room; its place is found below */
            return false;
        memmove(&set->items[first + 1], &set->items[first], behind * sizeof(*set->items));
    } else {
        memmove(&set->items[first + 1], &set->items[past], behind * sizeof(*set->items));
        set->count = first + 1 + behind;
    }
    set->items[first] = (struct range){start, end};
    return true;
}

const struct range *ranges_find(const struct ranges *set, uint64_t addr)
{
    size_t i = ranges_first_after(set, addr);
    return i < set->count && set->items[i].start <= addr ? &set->items[i] : NULL;
}

bool ranges_outside(const struct ranges *set, uint64_t start, uint64_t end, range_fn *fn, void *ctx)
{
    for (size_t i = ranges_first_after(set, start); i < set->count && start < end; i++) {
        const struct range *hole = &set->items[i];
        if (hole->start >= end)
            break;
        if (hole->start > start && !fn(ctx, start, hole->start))
            return false;
        start = hole->end;
    }
    return start >= end || fn(ctx, start, end);
}
