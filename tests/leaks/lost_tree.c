/* SPDX-License-Identifier: MIT */
/*
 * lost_tree.c - a binary tree of fifteen without parent pointers, its root lost.
 *
 * total: lost=1/24 indirect=14/336
 * group: lost blocks=1 indirect=14/336 groups=1 stack=grow<build<main
 */
#include "leak.h"

struct tree {
    struct tree *left, *right;
    long key;
};

OWN static struct tree *grow(int depth)
{
    struct tree *t = calloc(1, sizeof(*t));

    if (depth > 0) {
        t->left = grow(depth - 1);
        t->right = grow(depth - 1);
    }
    return OPAQUE(t);
}

OWN static void build(void)
{
    OPAQUE(grow(3));
}

int main(void)
{
    build();
    scrub();
    return 0;
}
