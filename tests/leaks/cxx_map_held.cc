/* SPDX-License-Identifier: MIT */
/*
 * cxx_map_held.cc - a global map and a global vector of owned objects: all held.
 *
 * total:
 * reachable: 150
 */
#include <map>
#include <memory>
#include <vector>

#include "leak.h"

static std::map<long, std::unique_ptr<long>> *map;
static std::vector<std::unique_ptr<long>> *vector;

OWN static void build()
{
    map = new std::map<long, std::unique_ptr<long>>;
    vector = new std::vector<std::unique_ptr<long>>;
    for (long i = 0; i < 50; i++) {
        (*map)[i] = std::make_unique<long>(i);
        vector->push_back(std::make_unique<long>(i));
    }
}

int main()
{
    build();
    scrub();
    return 0;
}
