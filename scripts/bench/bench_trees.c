/* SPDX-License-Identifier: MIT */
/*
 * bench_trees.c - linked structures that are built and torn down.
 *
 *   trees        full binary trees of several depths, one living long: the idea of Ellis, Kovac and Boehm's GCBench
 *   dictionary   a search tree of strings with values that are replaced; a random half is removed and comes again
 */
#include "bench.h"

struct node {
    struct node *child[2];
};

static struct node *build(unsigned depth)
{
    struct node *node = checked(malloc(sizeof(*node)));

    for (unsigned i = 0; i < 2; i++)
        node->child[i] = depth ? build(depth - 1) : NULL;
    return node;
}

static uint32_t tear_down(struct node *node)
{
    uint32_t count = 1;

    for (unsigned i = 0; i < 2; i++)
        if (node->child[i])
            count += tear_down(node->child[i]);
    free(node);
    return count;
}

/* One step: as many nodes in small trees as the long-lived one has. */
static void trees(const struct workload *w)
{
    enum { DEPTH = 16 };
    struct node *old = build(DEPTH);

    for (unsigned i = 0; i < w->steps; i++) {
        unsigned depth = 4 + i * 2 % 12;

        for (unsigned k = 0; k < 1u << (DEPTH - depth); k++)
            if (tear_down(build(depth)) != (2u << depth) - 1)
                broken("a tree has lost nodes");
    }
    if (tear_down(old) != (2u << DEPTH) - 1)
        broken("a tree has lost nodes");
}

struct entry {
    struct entry *child[2];
    char *word, *value;
};

static char *some_text(struct random *r, size_t low, size_t high)
{
    size_t length = random_between(r, low, high);
    char *text = checked(malloc(length + 1));

    for (size_t i = 0; i < length; i++)
        text[i] = (char)('a' + (length * 7 + i * 11) % 26);
    for (size_t i = 0; i < 4; i++)
        text[i] = (char)('a' + random_below(r, 26));
    text[length] = '\0';
    return text;
}

/* Where the word is, or would be. */
static struct entry **look_up(struct entry **at, const char *word)
{
    int order;

    while (*at && (order = strcmp(word, (*at)->word)) != 0)
        at = &(*at)->child[order > 0];
    return at;
}

static void add_word(struct entry **root, struct random *r)
{
    char *word = some_text(r, 5, 40);
    struct entry **at = look_up(root, word);

    if (*at) {
        free(word);
        free((*at)->value);
    } else {
        *at = checked(calloc(1, sizeof(**at)));
        (*at)->word = word;
    }
    (*at)->value = some_text(r, 10, 300);
}

static void drop_entry(struct entry *entry)
{
    free(entry->word);
    free(entry->value);
    free(entry);
}

/* Leaves go, and inner ones whose one child can take their place; others stay. */
static void thin_out(struct entry **at, struct random *r)
{
    struct entry *entry = *at;

    if (!entry)
        return;
    thin_out(&entry->child[0], r);
    thin_out(&entry->child[1], r);
    if (random_below(r, 3) == 0 || (entry->child[0] && entry->child[1]))
        return;
    *at = entry->child[entry->child[1] != NULL];
    drop_entry(entry);
}

static void drop_all(struct entry *entry)
{
    if (!entry)
        return;
    drop_all(entry->child[0]);
    drop_all(entry->child[1]);
    drop_entry(entry);
}

/* One step: 20,000 words come, then many go. */
static void dictionary(const struct workload *w)
{
    struct entry *root = NULL;
    struct random r = {5};

    for (unsigned i = 0; i < w->steps; i++) {
        for (unsigned k = 0; k < 20000; k++)
            add_word(&root, &r);
        thin_out(&root, &r);
    }
    drop_all(root);
}

const struct workload tree_workloads[] = {
    {"trees", trees, 1, 100, 0, 0, "binary trees built and torn down (after GCBench)"},
    {"dictionary", dictionary, 1, 12, 0, 0, "a search tree of strings, thinned out and filled again"},
    {NULL, NULL, 0, 0, 0, 0, NULL},
};
