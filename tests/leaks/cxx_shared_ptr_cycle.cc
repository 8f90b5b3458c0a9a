/* SPDX-License-Identifier: MIT */
/*
 * cxx_shared_ptr_cycle.cc - two objects that own each other through shared_ptr: one cycle of two.
 *
 * Each object is one block with its counts (16 bytes); the pointer to the object and the one to the counts
 * are two words.
 *
 * total: cycle=2/80
 * group: cycle blocks=2 bytes=80 instances=1 groups=1 edges=16+16,16+16,24+0,24+0 root=main
 */
#include <memory>

#include "leak.h"

struct node {
    std::shared_ptr<node> other;
    long payload = 1;
};

OWN static void build()
{
    auto a = std::make_shared<node>();

    a->other = std::make_shared<node>();
    a->other->other = a;
    OPAQUE(a.get());
}

int main()
{
    build();
    scrub();
    return 0;
}
