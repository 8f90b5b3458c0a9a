/* SPDX-License-Identifier: MIT */
/* What each stack allocated, as the threads' tallies say. */
#include "tracer/tool/check_parts.h"

#include <stdlib.h>

struct ordered {
    uint64_t value;
    uint32_t site;  /* there are many of the same value: they are put in order without looking farther */
    uint32_t index; /* of the tally */
};

/* Newton's method: libm for one root is not worth it. */
static double root_of(double x)
{
    double root = x > 1 ? x / 2 : 1;
    for (int i = 0; i < 200; i++)
        root = (root + x / root) / 2;
    return root;
}

static uint64_t margin_of(const struct site_tally *tally)
{
    return tally->variance > 0 && tally->variance < 1e30 ? (uint64_t)(1.96 * root_of(tally->variance) + 0.5)
                                                         : 0;
}

static struct rec_usage usage_of(const struct site_tally *tally)
{
    return (struct rec_usage){.site = REC_NONE,
                              .number = tally->site,
                              .allocations = tally->allocations,
                              .frees = tally->frees,
                              .bytes = tally->bytes,
                              .freed_bytes = tally->freed_bytes,
                              .temporary = tally->temporary,
                              .margin = margin_of(tally),
                              .peak = (int64_t)tally->peak > 0 ? tally->peak : 0};
}

static int by_value(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return x->site < y->site ? -1 : x->site > y->site;
}

/* A site that the image has no node of is damaged: its stack says no more than that. */
static bool add_in_order(struct check *check, const struct ordered *ordered, uint32_t count, uint32_t named)
{
    uint32_t sites;
    uint8_t *ends = check_site_ends(check, &sites);
    bool done = ends != NULL;
    for (uint32_t i = 0; done && i < count; i++) {
        struct rec_usage usage = usage_of(&image_usages(check->image)[ordered[i].index]);
        if (ordered[i].value > 0 && (named == 0 || i < named))
            done = check_name_site(check, usage.number, &usage.site);
        usage.end = usage.number < sites ? ends[usage.number] : SITE_END_NO_INFO;
        done = done && recording_add_usage(check->rec, &usage) != REC_NONE;
    }
    free(ends);
    return done;
}

bool check_add_usages(struct check *check, enum usage_by by, uint32_t named)
{
    uint32_t count = image_usage_count(check->image);
    const struct site_tally *all = image_usages(check->image);
    struct ordered *ordered = calloc((size_t)count + 1, sizeof(*ordered));
    if (!ordered)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct rec_usage usage = usage_of(&all[i]);
        ordered[i] = (struct ordered){usage_value(&usage, by), usage.number, i};
    }
    qsort(ordered, count, sizeof(*ordered), by_value);
    bool done = add_in_order(check, ordered, count, named);
    free(ordered);
    return done;
}
