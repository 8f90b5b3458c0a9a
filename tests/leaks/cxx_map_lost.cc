/* SPDX-License-Identifier: MIT */
/*
 * cxx_map_lost.cc - a lost map: its nodes know their parents and the topmost one the map itself, so all of it
 * is one cycle.
 *
 * total: cycle=8/384
 * group: cycle blocks=8 bytes=384 instances=1 groups=1 root=main
 */
#include <map>

#include "leak.h"

OWN static void build()
{
    auto *map = new std::map<long, long>;

    for (long i = 0; i < 7; i++)
        (*map)[i] = i;
    OPAQUE(map);
}

int main()
{
    build();
    scrub();
    return 0;
}
