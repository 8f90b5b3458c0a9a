/* SPDX-License-Identifier: MIT */
/* walk_emergency.c - the blocks of signal handlers that found a lock held (emergency.h), as the walker tells them. */
#include "allocator/emergency.h"
#include "allocator/walk.h"
#include "allocator/walk_parts.h"

static bool region_is_sane(const struct emergency_region *region)
{
    return region->magic == EMERGENCY_MAGIC && region->length % 4096 == 0 &&
           region->length >> MAP_BITS == 0 && region->first % 16 == 0 && region->first < region->length;
}

/* Where its blocks can be; a block of its own is all of the region. */
static uint64_t blocks_end(const struct emergency_region *region, uint64_t base)
{
    uint64_t bump = (region->word & UINT32_MAX) * 16, room = region->length - region->first;
    return base + region->first + (bump < room ? bump : room);
}

/* Places whose header is not written yet are stepped over, a unit at a time. */
static void walk_blocks(struct walk *walk, uint64_t at, uint64_t end, uint64_t region_end)
{
    while (at < end && !walk->stopped) {
        struct emergency_block header;
        if (!walk_read(walk, at, &header, sizeof header)) {
            walk_complain(walk, "unreadable emergency block", at);
            return;
        }
        enum emergency_state state = emergency_state(&header, at, walk->secret);
        if (state != EMERGENCY_NONE && header.size > region_end - at - sizeof header) {
            walk_complain(walk, "damaged emergency block", at);
            return;
        }
        struct walk_block block = {.addr = at + sizeof header,
                                   .capacity = header.size,
                                   .kind = WALK_MAPPING,
                                   .pool = at + sizeof header};
        if (state == EMERGENCY_LIVE)
            walk_block(walk, &block);
        at += state == EMERGENCY_NONE ? 16 : sizeof header + header.size;
    }
}

void walk_emergency(struct walk *walk, uint64_t granule, uint64_t base)
{
    struct emergency_region region;
    if (granule != base)
        return;
    if (!walk_read(walk, base, &region, sizeof region) || !region_is_sane(&region)) {
        walk_complain(walk, "damaged emergency region", base);
        return;
    }
    walk_region(walk, base, base + region.length, WALK_REGION_MAPPING);
    if (region.word >> 32 != 0)
        walk_blocks(walk, base + region.first, blocks_end(&region, base), base + region.length);
}
