/* SPDX-License-Identifier: MIT */
/* The threads' tallies, which are what they did by site, added up. */
#include "tracer/image/view.h"

#include <stdlib.h>

#define THREADS_MAX        (1u << 20) /* more at once than any system has: the list was overwritten */
#define TALLY_CAPACITY_MAX (1u << 28)
#define TALLIES_AT_ONCE    64u

#define USAGES_FIRST 1024u
#define USAGES_MAX   (1u << 28)

/* Where the index of the site's usage is, + 1; 0: there goes a new one's. */
static uint32_t *place_of(const struct image *image, uint32_t site)
{
    uint32_t mask = image->usage_capacity * 2 - 1;
    uint32_t at = (uint32_t)(site * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;
    while (image->usage_places[at] && image->usages[image->usage_places[at] - 1].site != site)
        at = (at + 1) & mask;
    return &image->usage_places[at];
}

static bool grow(struct image *image)
{
    uint32_t capacity = image->usage_capacity ? image->usage_capacity * 2 : USAGES_FIRST;
    struct site_tally *usages =
        capacity <= USAGES_MAX ? realloc(image->usages, capacity * sizeof(*usages)) : NULL;
    if (!usages)
        return false;
    image->usages = usages;
    uint32_t *places = calloc((size_t)capacity * 2, sizeof(*places));
    if (!places)
        return false;
    free(image->usage_places);
    image->usage_places = places;
    image->usage_capacity = capacity;
    for (uint32_t i = 0; i < image->usage_count; i++)
        *place_of(image, usages[i].site) = i + 1;
    return true;
}

static void add_to(struct site_tally *to, const struct site_tally *tally)
{
    to->allocations += tally->allocations;
    to->frees += tally->frees;
    to->bytes += tally->bytes;
    to->freed_bytes += tally->freed_bytes;
    to->temporary += tally->temporary;
    to->peak += tally->peak;
    to->variance += tally->variance;
}

/* The threads' entries of a site become one. */
static bool keep_usage(struct image *image, const struct site_tally *tally)
{
    if (image->usage_count == image->usage_capacity && !grow(image))
        return false;
    uint32_t *place = place_of(image, tally->site);
    if (*place) {
        add_to(&image->usages[*place - 1], tally);
        return true;
    }
    image->usages[image->usage_count++] = *tally;
    *place = image->usage_count;
    return true;
}

/* Of a sampled recording, whose tallies count parts of blocks. */
static void whole_blocks(struct site_tally *tally)
{
    tally->allocations = (tally->allocations + TALLY_PARTS / 2) / TALLY_PARTS;
    tally->frees = (tally->frees + TALLY_PARTS / 2) / TALLY_PARTS;
    tally->temporary = (tally->temporary + TALLY_PARTS / 2) / TALLY_PARTS;
}

static bool add_table(struct image *image, uint64_t at)
{
    struct record_root *root = &image->record;
    struct site_tally tally[TALLIES_AT_ONCE];
    struct tally_table table;
    if (!memory_read(&image->memory, at, &table, sizeof(table)) || table.capacity > TALLY_CAPACITY_MAX)
        return false;
    at += sizeof(table);
    for (uint64_t left = table.capacity; left > 0;) {
        uint64_t count = left < TALLIES_AT_ONCE ? left : TALLIES_AT_ONCE;
        if (!memory_read(&image->memory, at, tally, count * sizeof(tally[0])))
            return false;
        for (uint64_t i = 0; i < count; i++) {
            if (root->sample)
                whole_blocks(&tally[i]);
            root->allocations += tally[i].allocations;
            root->frees += tally[i].frees;
            if (tally[i].site != 0 && !keep_usage(image, &tally[i]))
                return false;
        }
        at += count * sizeof(tally[0]);
        left -= count;
    }
    return true;
}

void tallies_load(struct image *image)
{
    struct record_root *root = &image->record;
    struct thread_tallies thread;
    uint64_t at = root->tallies;

    bool unreadable = false;
    for (uint32_t i = 0; at != 0 && i < THREADS_MAX; i++, at = thread.next) {
        if (!memory_read(&image->memory, at, &thread, sizeof(thread))) {
            unreadable = true;
            break;
        }
        unreadable |= !add_table(image, thread.table);
        root->allocations += thread.allocations;
        root->frees += thread.frees;
    }
    if (unreadable)
        image_note(image,
                   "a thread's tallies cannot be read: there were more allocations and frees than is said");
    free(image->usage_places);
    image->usage_places = NULL;
}

uint32_t image_usage_count(const struct image *image)
{
    return image->usage_count;
}

const struct site_tally *image_usages(const struct image *image)
{
    return image->usages;
}
