/* SPDX-License-Identifier: MIT */
/*
 * cxx_list_cycle.cc - two objects with a list of shared_ptr to the other: one cycle of four, the list nodes
 * among them.
 *
 * total: cycle=4/144
 * group: cycle blocks=4 bytes=144 instances=1 groups=1 root=main
 */
#include <list>
#include <memory>

#include "leak.h"

struct node {
    std::list<std::shared_ptr<node>> others;
};

OWN static void build()
{
    auto a = std::make_shared<node>(), b = std::make_shared<node>();

    a->others.push_back(b);
    b->others.push_back(a);
    OPAQUE(a.get());
}

int main()
{
    build();
    scrub();
    return 0;
}
