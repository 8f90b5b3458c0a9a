/* SPDX-License-Identifier: MIT */
/*
 * tree_with_parents.c - a tree whose nodes know their parents is strongly connected: one cycle of seven.
 *
 * total: cycle=7/224
 * group: cycle blocks=7 bytes=224 instances=1 groups=1 root=main
 */
#include "leak.h"

struct tree {
    struct tree *left, *right, *parent;
    long key;
};

OWN static struct tree *grow(struct tree *parent, int depth)
{
    struct tree *t = calloc(1, sizeof(*t));

    t->parent = parent;
    if (depth > 0) {
        t->left = grow(t, depth - 1);
        t->right = grow(t, depth - 1);
    }
    return OPAQUE(t);
}

OWN static void build(void)
{
    OPAQUE(grow(NULL, 2));
}

int main(void)
{
    build();
    scrub();
    return 0;
}
